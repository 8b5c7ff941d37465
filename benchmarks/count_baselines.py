"""Prints what simple models reach on the built-in blood cells, held-out likelihood and agreement with the labels, as a table and as JSON.

python benchmarks/count_baselines.py
"""

import argparse
import dataclasses
import json

from kseparation.data.counts import PBMC68k
from kseparation.workflows.count_baselines import as_table, count_baselines

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clusters", default="10,16,32,64")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = count_baselines(PBMC68k(), [int(number) for number in arguments.clusters.split(",")], arguments.seed, ["louvain"])
    print(as_table(rows))
    print(json.dumps([dataclasses.asdict(row) for row in rows]))

"""Turns weights that were trained in PyTorch into a .keras file. `python apps/import_weights.py --help` lists the flags; `kseparation import_weights` is the same."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the package of this clone, installed or not

from kseparation.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["import_weights", *sys.argv[1:]]))

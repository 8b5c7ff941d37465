"""Runs the step of an incident again and names its cause. `python apps/replay.py --help` lists the flags; `kseparation replay` is the same."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the package of this clone, installed or not

from kseparation.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["replay", *sys.argv[1:]]))

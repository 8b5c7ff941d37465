"""What a run writes about itself while it trains."""

import json
import math
import os
import time
from pathlib import Path

import numpy as np

from kseparation.storage.atomic import write_text_atomic

LOSSES_FILE = "losses.log"
METRICS_FILE = "metrics.jsonl"


def _plain(value):
    """JSON has no NaN and no infinity."""
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


class RunLog:
    """Appends to `losses.log` (every step, exact, no clock) and `metrics.jsonl` (events, with seconds).

    `losses.log` has one line per optimizer step: the step, then `name=value` for each loss part with the value as hexadecimal float. Two runs that computed the same thing
    have the same file. A context manager.

    Args:
        folder: of the run.
        step: number of steps already done; lines of later steps, left by a run that died, are cut off.
    """

    def __init__(self, folder: str | Path, step: int = 0):
        self.folder = Path(folder)
        self._cut_back(step)
        self._losses = open(self.folder / LOSSES_FILE, "a", encoding="ascii")
        self._metrics = open(self.folder / METRICS_FILE, "a", encoding="utf-8")
        self._start = time.monotonic()

    def _cut_back(self, step):
        losses = self.folder / LOSSES_FILE
        if losses.exists():
            kept = [line for line in losses.read_text(encoding="ascii").splitlines() if line.split(" ", 1)[0].isdigit()][:step]
            write_text_atomic(losses, "".join(line + "\n" for line in kept))
        metrics = self.folder / METRICS_FILE
        if metrics.exists():
            # The last line of a killed run may be half written; what lies after the checkpoint is done again.
            rows = []
            for line in metrics.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if row.get("step", 0) <= step:
                    rows.append(line + "\n")
            write_text_atomic(metrics, "".join(rows))

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, step: int, parts: dict[str, float]) -> None:
        """Adds the line of one optimizer step."""
        values = " ".join(f"{name}={float(value).hex()}" for name, value in parts.items())
        self._losses.write(f"{step} {values}\n")

    def event(self, kind: str, step: int, epoch: int, **values) -> None:
        """Adds one JSON object: `kind` is train, validation, fault or resume."""
        row = {"kind": kind, "step": step, "epoch": epoch, "seconds": round(time.monotonic() - self._start, 3)}
        row.update({name: _plain(value) for name, value in values.items()})
        self._metrics.write(json.dumps(row) + "\n")
        self._metrics.flush()

    def flush(self) -> None:
        """Puts everything on the disk."""
        for file in (self._losses, self._metrics):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Flushes and closes both files."""
        self.flush()
        self._losses.close()
        self._metrics.close()

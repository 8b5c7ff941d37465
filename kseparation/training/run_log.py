"""What a run writes about itself while it trains."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kseparation.storage.atomic import plain, write_text_atomic
from kseparation.storage.json_lines import read_json_lines
from kseparation.storage.patient_file import PatientFile

LOSSES_FILE = "losses.log"
METRICS_FILE = "metrics.jsonl"


def _step_of(line):
    """The step of a line of `losses.log`, 0 where it is no such line."""
    number = line.partition(" ")[0]
    return int(number) if number.isdigit() else 0


def last_step(folder: Path) -> int:
    """Returns the last step that `losses.log` of a run tells of, 0 where there is none."""
    file = folder / LOSSES_FILE
    lines = file.read_text(encoding="ascii", errors="replace").splitlines() if file.exists() else []
    return max(map(_step_of, lines), default=0)


def rows_of_the_course(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the rows of `metrics.jsonl` without the trainings and validations from which the training returned to an older state; faults and recoveries stay.

    Example:

    >>> rows = [{"kind": "train", "step": step} for step in (1, 2, 3)]
    >>> [row["step"] for row in rows_of_the_course([*rows, {"kind": "recovery", "step": 3, "to_step": 1}, {"kind": "train", "step": 2}])]
    [1, 3, 2]
    """
    kept = []
    for row in rows:
        if row.get("kind") == "recovery":
            kept = [old for old in kept if old.get("kind") not in ("train", "validation") or old["step"] <= row["to_step"]]
        kept.append(row)
    return kept


class RunLog:
    """Appends to `losses.log` (every step, exact, no clock) and `metrics.jsonl` (events, with seconds).

    `losses.log` has one line per optimizer step: the step, then `name=value` for each loss part with the value as hexadecimal float. Two runs that computed the same thing
    have the same file. A full disk ends neither the log nor the training: see `PatientFile`. A context manager.

    Where the training returns to an older state, a new course begins: `losses.log` is cut back, while `metrics.jsonl` keeps what was seen, and its further rows have the number of the course
    (see `rows_of_the_course`).

    Args:
        folder: of the run.
        step: number of steps already done; lines of later steps, left by a run that died, are cut off.
        course: number of returns made before.
    """

    def __init__(self, folder: str | Path, step: int = 0, course: int = 0):
        self.folder = Path(folder)
        self.course = course
        self._start = time.monotonic()
        self._cut_back(step)
        self._losses = PatientFile(self.folder / LOSSES_FILE)
        self._metrics = PatientFile(self.folder / METRICS_FILE)

    def rewind(self, step: int, course: int) -> None:
        """Begins a new course after `step`."""
        kept = [line for line in self._losses.content().splitlines(keepends=True) if _step_of(line.decode("ascii")) <= step]
        self._losses.truncate(sum(map(len, kept)))
        self.course = course

    def last_steps(self, number: int) -> list[dict[str, float]]:
        """Returns the last lines of `losses.log`, oldest first: `{"step", "<part>"...}`."""
        rows = []
        for line in self._losses.content().decode("ascii").splitlines()[-number:]:
            step, *parts = line.split(" ")
            rows.append({"step": int(step), **{name: float.fromhex(value) for name, value in (part.rsplit("=", 1) for part in parts)}})
        return rows

    def _cut_back(self, step):
        losses = self.folder / LOSSES_FILE
        if losses.exists():
            kept = [""]
            for line in losses.read_text(encoding="ascii", errors="replace").splitlines():
                # A half-written number is smaller than the one before it.
                if _step_of(kept[-1]) < _step_of(line) <= step:
                    kept.append(line)
            write_text_atomic(losses, "".join(line + "\n" for line in kept[1:]))
        metrics = self.folder / METRICS_FILE
        if metrics.exists():
            # What lies after the checkpoint is done again, but for what ended the training; older courses are over.
            rows = [(row, row.get("course", 0)) for row in read_json_lines(metrics) if isinstance(row.get("step"), int)]
            kept = [row for row, course in rows if course < self.course or course == self.course and (row["step"] <= step or row.get("action") == "stop")]
            starts = [index for index, row in enumerate(kept) if row.get("kind") == "start"]
            kept = [row for index, row in enumerate(kept) if index not in starts[:-1]]  # a run that died before its first checkpoint started again
            write_text_atomic(metrics, "".join(json.dumps(row) + "\n" for row in kept))

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, step: int, parts: dict[str, float]) -> None:
        """Adds the line of one optimizer step."""
        values = " ".join(f"{name}={float(value).hex()}" for name, value in parts.items())
        self._losses.write(f"{step} {values}\n")

    def event(self, kind: str, step: int, epoch: int, **values) -> None:
        """Adds one JSON object: `kind` is start, train, validation, fault, recovery or resume."""
        row = {"kind": kind, "step": step, "epoch": epoch, "seconds": round(time.monotonic() - self._start, 3)}
        if self.course:
            row["course"] = self.course
        self._metrics.write(json.dumps(plain(row | values)) + "\n")

    def flush(self) -> None:
        """Puts everything on the disk, as far as it lets."""
        self._losses.flush()
        self._metrics.flush()

    @property
    def waiting(self) -> int:
        """Number of steps whose lines the disk refuses."""
        return self._losses.waiting

    def close(self) -> None:
        """Flushes and closes both files; a warning says what the disk still refuses."""
        self._losses.close()
        self._metrics.close()

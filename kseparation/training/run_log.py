"""What a run writes about itself while it trains."""

import json
import time
from pathlib import Path

from kseparation.storage.atomic import plain, write_text_atomic
from kseparation.storage.json_lines import read_json_lines
from kseparation.storage.patient_file import PatientFile

LOSSES_FILE = "losses.log"
METRICS_FILE = "metrics.jsonl"
# Events that stay in the log when the training returns to before them.
LEFT_BEHIND = ("fault", "recovery")


def _step_of(line):
    """The step of a line of `losses.log`, 0 where it is no such line."""
    number = line.partition(" ")[0]
    return int(number) if number.isdigit() else 0


def last_step(folder: Path) -> int:
    """Returns the last step that `losses.log` of a run tells of, 0 where there is none."""
    file = folder / LOSSES_FILE
    lines = file.read_text(encoding="ascii", errors="replace").splitlines() if file.exists() else []
    return max(map(_step_of, lines), default=0)


class RunLog:
    """Appends to `losses.log` (every step, exact, no clock) and `metrics.jsonl` (events, with seconds).

    `losses.log` has one line per optimizer step: the step, then `name=value` for each loss part with the value as hexadecimal float. Two runs that computed the same thing
    have the same file. A full disk ends neither the log nor the training: see `PatientFile`. A context manager.

    Args:
        folder: of the run.
        step: number of steps already done; lines of later steps, left by a run that died, are cut off.
    """

    def __init__(self, folder: str | Path, step: int = 0):
        self.folder = Path(folder)
        self._start = time.monotonic()
        self._cut_back(step)
        self._open()

    def _open(self):
        self._losses = PatientFile(self.folder / LOSSES_FILE)
        self._metrics = PatientFile(self.folder / METRICS_FILE)

    def rewind(self, step: int) -> None:
        """Cuts the lines of later steps off, where the training goes on from an older state. Faults and recoveries stay, marked as `left` behind."""
        self.close()
        self._cut_back(step, keep_faults=True)
        self._open()

    def last_losses(self, number: int) -> list[float]:
        """Returns the total losses of the last steps in the log, oldest first."""
        self._losses.flush()
        lines = (self.folder / LOSSES_FILE).read_text(encoding="ascii").splitlines()[-number:]
        return [float.fromhex(line.split("total=", 1)[1].split(" ", 1)[0]) for line in lines]

    def _cut_back(self, step, keep_faults=False):
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
            # What lies after the checkpoint is done again.
            rows = [row for row in read_json_lines(metrics) if isinstance(row.get("step"), int)]
            if keep_faults:
                rows = [row | {"left": True} if row.get("kind") in LEFT_BEHIND and row["step"] > step else row for row in rows]
            kept = [row for row in rows if row["step"] <= step or row.get("left")]
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
        self._metrics.write(json.dumps(plain(row | values)) + "\n")

    def flush(self) -> None:
        """Puts everything on the disk, as far as it lets."""
        self._losses.flush()
        self._metrics.flush()

    def close(self) -> None:
        """Flushes and closes both files; a warning says what the disk still refuses."""
        self._losses.close()
        self._metrics.close()

"""States of a training in memory to which it can return."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kseparation.errors import KSeparationError
from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint

# A state is trusted when the training went on from it for so long, rejected steps included: what breaks a training often came into it some steps before it shows.
PROVING_STEPS = 20

logger = logging.getLogger("kseparation")


@dataclass
class Snapshot:
    """All numbers of a training after `step` steps, as `read_state` gives them, and what is kept beside them, JSON values.

    Attributes:
        on_disk: whether it has been written.
    """

    step: int
    arrays: Mapping[str, np.ndarray]
    notes: Mapping[str, Any] = field(default_factory=dict)
    on_disk: bool = False


class Snapshots:
    """The last states of a training, a few of them, copied every so many steps.

    Copies, because compiled steps may write into the memory of the state that they were given. They come onto the disk with the next checkpoint, so that a training that goes on from
    it would return to the same state as one that was never interrupted.

    Args:
        every_steps: steps between two of them.
        keep: number of those kept; at least 2, for the newest is not trusted yet.
        store: of the run, for them alone; it must keep twice as many, those of the last checkpoint and those of the next. None keeps them in memory only.
    """

    def __init__(self, every_steps: int = 100, keep: int = 3, store: CheckpointStore | None = None):
        if every_steps < 1 or keep < 2:
            raise ValueError(f"`every_steps` must be at least 1 and `keep` at least 2. Received: every_steps={every_steps}, keep={keep}")
        self.every_steps = every_steps
        self.keep = keep
        self.store = store
        self._kept: list[Snapshot] = []

    def is_due(self, step: int) -> bool:
        """Whether a state of this step is to be kept. A pure function of the step, so that a resumed training keeps the same ones."""
        return step % self.every_steps == 0 and all(snapshot.step != step for snapshot in self._kept)

    def add(self, step: int, arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any] | None = None) -> None:
        """Keeps a state, and forgets those of later steps, which belong to a course that was left, and the oldest."""
        self._kept = [snapshot for snapshot in self._kept if snapshot.step < step] + [Snapshot(step, arrays, notes or {})]
        self._kept = self._kept[-self.keep :]

    def write(self, before: int | None = None) -> None:
        """Puts those onto the disk that are not there.

        Args:
            before: only those of earlier steps, and none on the disk is replaced or deleted; None writes all of them, and deletes those of later steps.
        """
        for snapshot in self._kept:
            if self.store is not None and not snapshot.on_disk and (before is None or snapshot.step < before):
                self.store.save(snapshot.step, snapshot.arrays, snapshot.notes, delete=before is None)
                snapshot.on_disk = True

    def restore(self, steps: Collection[int], own: Snapshot | None = None) -> None:
        """Takes those of these steps from the disk; one that is missing or damaged is left out, with a warning.

        Args:
            steps: that the checkpoint names from which the training goes on.
            own: the state of that checkpoint, which is also the one of its step: the file may be of a course that was left.
        """
        self._kept = []
        for step in sorted(steps):
            if own is not None and step == own.step:
                self._kept.append(own)
                continue
            try:
                found = load_checkpoint(self.store.folder / str(step))
            except KSeparationError:
                logger.warning("The state `%s`, to return to in trouble, is missing or damaged and is left out.", self.store.folder / str(step))
                continue
            self._kept.append(Snapshot(step, found.arrays, found.progress, on_disk=True))

    def steps(self) -> list[int]:
        """Returns the steps of those kept, ascending."""
        return [snapshot.step for snapshot in self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def trusted(self, bad_step: int, before: int | None = None) -> Snapshot | None:
        """Returns the newest state from which the training went on long enough before `bad_step`; the oldest where none has.

        Args:
            bad_step: the step in which trouble showed.
            before: only states of earlier steps than this count, where one has been returned to in vain.
        """
        older = [snapshot for snapshot in self._kept if snapshot.step < (bad_step if before is None else min(before, bad_step))]
        proven = [snapshot for snapshot in older if bad_step - snapshot.step > PROVING_STEPS]
        return (proven or older[:1] or [None])[-1]

"""How a fault is put into a training: into its batches, its layers and loss, its state, or its validation."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

# The first two samples of a batch that a fault in the program answers to: exact in every float format, and in no music at this place.
MARK = 97 / 128


class Fault:
    """One way in which a training breaks. A subclass overrides what it does harm with; all else is left as it is.

    Args:
        step: optimizer step, from 1, in which it comes.
        steps: number of steps in which it comes, one after the other.
    """

    # Whether it would come again where the same steps are computed again, as a fault of the program does and one of the machine does not.
    repeats = True
    # Whether batches that were drawn anew suffer too.
    follows_redrawn = False
    # Whether it answers to a batch that is marked; of these a training can have one, for each would answer to the mark of the others.
    marks_batches = False

    def __init__(self, step: int = 10, steps: int = 1):
        for name, value in (("step", step), ("steps", steps)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        self.step = step
        self.steps = steps

    def require_possible(self, steps: int, accumulate_steps: int, compiled: bool) -> None:
        """Raises ValueError where it can never come.

        Args:
            steps: of the training.
            accumulate_steps: micro-batches of each.
            compiled: whether they run as one compiled program.
        """
        if self.step > steps:
            raise ValueError(f"`step` lies after the end of the training, so that the fault would never come. Received: step={self.step}, and {steps} steps")

    def comes_in(self, step: int) -> bool:
        """Whether it comes in an optimizer step."""
        return self.step <= step < self.step + self.steps

    def read(self, batches, position: int) -> None:
        """May raise what reading a batch would."""

    def change_batch(self, mixtures: np.ndarray, stems: np.ndarray, micro_batch: int) -> None:
        """Changes a batch in place; `micro_batch` counts those of the step."""

    def require_validation(self, batches: int) -> None:
        """Raises UserError where it would come in a batch of the validation that there is not."""

    def change_validation(self, index: int, mixtures: np.ndarray, stems: np.ndarray) -> None:
        """Changes a validation batch in place."""

    def change_model(self, model: keras.Model) -> None:
        """Changes layers or loss of a built and compiled model before its first step."""

    def before_step(self, model: keras.Model, step: int) -> None:
        """Changes weights, optimizer or learning rate on the host, before optimizer step `step`."""


def mark(mixtures: np.ndarray, stems: np.ndarray) -> None:
    """Marks a batch, in place, for faults in the program."""
    for audio in (mixtures[0], stems[0, 0]):
        audio[:2, 0] = (MARK, -MARK)[: len(audio)]


def is_marked(audio):
    """Whether a batch of mixtures or stems, a tensor `(batch, ..., samples, channels)`, is marked: a boolean scalar."""
    first = ops.reshape(audio[..., :2, 0], (-1, 2))[0] if audio.shape[-2] != 1 else ops.zeros((2,))
    return ops.logical_and(first[0] == MARK, first[1] == -MARK)


class InjectedBatches:
    """The batches of a training with its faults: everything but `batch` is that of the batches themselves.

    Args:
        batches: a `SegmentBatches`.
        faults: put into them.
        accumulate_steps: micro-batches of an optimizer step.
        batches_per_epoch: micro-batches of an epoch.
    """

    def __init__(self, batches, faults: Sequence[Fault], accumulate_steps: int, batches_per_epoch: int):
        self._batches = batches
        self._faults = faults
        self._accumulate_steps = accumulate_steps
        self._per_epoch = batches_per_epoch

    def __getattr__(self, name):
        return getattr(self._batches, name)

    def batch(self, epoch: int, index: int, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch as `SegmentBatches.batch` does, with the faults that belong to it."""
        position = epoch * self._per_epoch + index
        step, micro_batch = divmod(position, self._accumulate_steps)
        due = [fault for fault in self._faults if fault.comes_in(step + 1) and (draw == 0 or fault.follows_redrawn)]
        for fault in due:
            fault.read(self._batches, position)
        mixtures, stems = self._batches.batch(epoch, index, draw)
        for fault in due:
            fault.change_batch(mixtures, stems, micro_batch)
        return mixtures, stems


class InjectedValidation(Sequence):
    """Validation batches with faults; see `InjectedBatches`."""

    def __init__(self, segments: Sequence, faults: Sequence[Fault]):
        self._segments = segments
        self._faults = faults
        for fault in faults:
            fault.require_validation(len(segments))

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        mixtures, stems = self._segments[index]
        for fault in self._faults:
            fault.change_validation(index, mixtures, stems)
        return mixtures, stems

    def plan(self, index: int) -> list[dict[str, str | int]]:
        """As that of `ValidationSegments`."""
        return self._segments.plan(index)


class Injection(keras.callbacks.Callback):
    """All faults of a run. A callback, which must come after those that watch and save: it changes what the next step finds.

    Args:
        faults: of the config.
        replays: whether steps are computed again to find what went wrong in them: faults of the machine then stay away.

    Attributes:
        steps: counts the steps; an object with `step`, steps done, and `between_steps`. Set before the training.
    """

    def __init__(self, faults: Sequence[Fault] = (), replays: bool = False):
        super().__init__()
        self.faults = [fault for fault in faults if fault.repeats or not replays]
        self.steps = None
        self._done = set()

    def batches(self, batches, accumulate_steps: int, batches_per_epoch: int):
        """Returns the batches of the training with the faults in them."""
        return InjectedBatches(batches, self.faults, accumulate_steps, batches_per_epoch) if self.faults else batches

    def validation(self, segments: Sequence) -> Sequence:
        """Returns the batches of the validation with the faults in them."""
        return InjectedValidation(segments, self.faults) if self.faults else segments

    def change_model(self, model: keras.Model) -> None:
        """Puts faults into a built and compiled model, before its first step."""
        for fault in self.faults:
            fault.change_model(model)

    def on_train_begin(self, logs=None):
        self._before()

    def on_train_batch_end(self, batch, logs=None):
        self._before()

    def _before(self):
        if not self.faults or not self.steps.between_steps:
            return
        step = self.steps.step + 1
        for fault in self.faults:
            if fault.repeats or (fault, step) not in self._done:
                self._done.add((fault, step))
                fault.before_step(self.model, step)

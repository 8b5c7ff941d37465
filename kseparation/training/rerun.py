"""Steps of a training computed again, by the program that computed them first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from kseparation.training.faults import Injection
from kseparation.training.feeding import fit_input, spec_of
from kseparation.training.run_callbacks import KERAS_MEAN
from kseparation.training.state import read_state, write_state


@dataclass(frozen=True)
class Rerun:
    """What some steps gave.

    Args:
        parts: of the loss of each step, by name, means over its micro-batches.
        rejected: whether each step was.
        before_last: state before the last step.
        after: state after it.
    """

    parts: Sequence[Mapping[str, float]]
    rejected: Sequence[bool]
    before_last: Mapping[str, np.ndarray]
    after: Mapping[str, np.ndarray]


class _Collect(keras.callbacks.Callback):
    """Counts optimizer steps and keeps what they gave."""

    def __init__(self, step, accumulate, last_step):
        super().__init__()
        self.step, self.accumulate, self.last_step = step, accumulate, last_step
        self.parts, self.rejected, self.before_last, self._pending = [], [], None, []

    @property
    def between_steps(self):
        """Whether the last micro-batch ended a step."""
        return not self._pending

    def on_train_begin(self, logs=None):
        self._skipped = int(self.model.optimizer.skipped_steps)
        self._keep()

    def on_train_batch_end(self, batch, logs=None):
        self._pending.append({name: float(value) for name, value in logs.items() if name != KERAS_MEAN and name not in self.model.score_names})
        if len(self._pending) < self.accumulate:
            return
        self.parts.append({name: float(np.mean([parts[name] for parts in self._pending])) for name in self._pending[0]})
        self._pending = []
        self.step += 1
        skipped = int(self.model.optimizer.skipped_steps)
        self.rejected.append(skipped > self._skipped)
        self._skipped = skipped
        self._keep()

    def _keep(self):
        if self.step == self.last_step - 1:
            self.before_last = read_state(self.model)


def rerun(
    model: keras.Model,
    state: Mapping[str, np.ndarray],
    first_step: int,
    micro_batches: Sequence[tuple[np.ndarray, np.ndarray]],
    injection: Injection | None = None,
    eagerly: bool = False,
) -> Rerun:
    """Trains a model on some batches from a given state, through `fit`.

    Args:
        model: built and compiled as in the training.
        state: as `read_state` gives it.
        first_step: number of the first step that is computed, from 1.
        micro_batches: (mixtures, stems) of all micro-batches, a whole number of steps; asked for when they are due.
        injection: faults that come between two steps.
        eagerly: operation by operation instead of compiled.
    """
    accumulate = model.optimizer.accumulate_steps
    steps = len(micro_batches) // accumulate
    write_state(model, state)
    model.set_micro_batches((first_step - 1) * accumulate)
    compiled = model.run_eagerly
    if eagerly != compiled:
        model.run_eagerly = eagerly
        model.train_function = None
    collect = _Collect(first_step - 1, accumulate, first_step - 1 + steps)
    injection = injection or Injection()
    injection.steps = collect
    try:
        model.fit(
            fit_input((micro_batches[index] for index in range(len(micro_batches))), spec_of(micro_batches[0])),
            steps_per_epoch=len(micro_batches),
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=[collect, injection],
        )
    finally:
        if eagerly != compiled:
            model.run_eagerly = compiled
            model.train_function = None
    return Rerun(collect.parts, collect.rejected, collect.before_last, read_state(model))

"""Verdicts on steps that are made here, without a run around them. The table of faults and `test_replay.py` have those of whole trainings."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.losses import LOSSES, Objective
from kseparation.training import GuardedOptimizer
from kseparation.training.alien_state import alien_variable
from kseparation.training.diagnosis import Diagnosing
from kseparation.training.evidence import Evidence
from kseparation.training.recoverable_rate import RecoverableRate
from kseparation.training.rerun import rerun
from kseparation.training.state import read_state
from tests.on_backend import numbers
from tests.tiny_separator import CHANNELS, SAMPLES, TinySeparator, tiny_batches

STEPS = 4


class Leaves(TinySeparator):
    """Cannot compute where its kernel has moved further than `limit`; its output is `factor` times as large backward as forward."""

    limit, factor, start = np.inf, 1.0, None

    def call(self, mixture, training=False):
        stems = super().call(mixture, training)
        if self.start is not None:
            stems = stems + 0.0 * ops.sqrt(self.limit - ops.sum(ops.square(self.dense.kernel - self.start)))
        scaled = stems * self.factor
        return stems + scaled - ops.stop_gradient(scaled) if self.factor != 1.0 else stems


def leaves(limit: float | None = None, factor: float = 1.0) -> Leaves:
    keras.utils.set_random_seed(7)
    model = Leaves(name="leaves")
    model.build((None, SAMPLES, CHANNELS))
    model.factor = factor
    if limit is not None:
        model.limit, model.start = limit, numbers(model.dense.kernel).copy()
    optimizer = GuardedOptimizer(keras.optimizers.SGD(RecoverableRate(keras.optimizers.schedules.ExponentialDecay(0.1, 100, 1.0))))
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss=Objective({"waveform_l1": LOSSES["waveform_l1"]()}), auto_scale_loss=False, jit_compile=keras.backend.backend() == "jax")
    return model


class Counted:
    """Batches that may be asked for one at a time only, as those that are read from songs."""

    def __init__(self, batches):
        self.batches, self.asked = batches, []

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        assert 0 <= number, "a slice, or from the end"
        self.asked.append(number)
        return self.batches[number]


def diagnose(model, event="non_finite", losses=(), before=None, at=None, batches=None):
    state = before or read_state(model)
    batches = Counted(batches or tiny_batches(STEPS))
    evidence = Evidence(event, STEPS, batches, state, at or state, losses)
    diagnosing = Diagnosing(model, evidence)
    assert batches.asked == [STEPS - 1]
    return diagnosing.diagnose()


def test_a_rate_that_led_to_a_state_in_which_an_operation_fails_is_named_with_the_operation() -> None:
    model = leaves()
    start = numbers(model.dense.kernel).copy()
    kernels = []
    for steps in (STEPS - 2, STEPS - 1):
        state = rerun(leaves(), read_state(model), 1, tiny_batches(STEPS)[:steps]).after
        kernels.append(next(value for name, value in state.items() if name.endswith("model/leaves/dense/kernel")))
    near, far = (float(np.sum(np.square(kernel - start))) for kernel in kernels)
    assert near < far
    found = diagnose(leaves((near + far) / 2))
    assert (found.verdict, found.layer, found.operation) == ("learning_rate", "leaves", "sqrt")
    assert found.place.startswith("tests/training/test_diagnosis.py:") and 0 < found.largest_input < 1
    assert found.reason.startswith("At 0.1 times the learning rate the same steps are sound. In leaves `sqrt` gives the first value that is not finite")
    found = diagnose(leaves(-1.0))  # at any rate
    assert (found.verdict, found.layer, found.operation, found.largest_input) == ("layer", "leaves", "sqrt", 1.0)


def test_a_gradient_that_is_finite_and_too_large_is_named_without_reruns_that_cannot_help() -> None:
    found = diagnose(leaves(factor=1e25))
    assert (found.verdict, found.layer) == ("gradient", "leaves/dense")
    assert "The gradient is finite and has a norm of" in found.reason and "beyond 1e+18 a step is rejected" in found.reason
    assert sum("times the learning rate" in words for words in found.tried) == 1 and not any("ran step 4 operation by operation" in words for words in found.tried)


@pytest.mark.parametrize("size", [1e19, 1e30])
def test_a_weight_of_absurd_size_is_named_without_reruns(size: float) -> None:
    model = leaves()
    model.dense.kernel.assign(np.full(model.dense.kernel.shape, size))
    found = diagnose(model)
    assert (found.verdict, found.layer) == ("weights", "leaves/dense")
    assert "`leaves/dense/kernel` is finite and has a norm of" in found.reason and not any("learning rate" in words for words in found.tried)


def test_losses_of_other_steps_are_not_said_to_agree() -> None:
    def words(losses):
        return next(words for words in diagnose(leaves(-1.0), losses=losses).tried if words.startswith("ran steps"))

    assert "nothing can be compared" in words([{"step": 99, "total": 1.0}]) and "bit for bit" not in words([{"step": 99, "total": 1.0}])
    assert "the 1 of 4 losses that the training recorded are those of the training, bit for bit" in words([{"step": 4, "total": float("nan")}])
    assert "from step 4 on the losses are not those of the training" in words([{"step": 4, "total": 1.0}])


def test_a_state_of_another_course_in_which_the_step_fails_is_examined_itself() -> None:
    """From the state before, the step is sound; the one in which the training was differs by no more than the machine may."""
    model = leaves(limit=1e-12)
    before = read_state(model)
    for name, value in before.items():
        if name.endswith("rate_factor"):
            before[name] = value * 0  # nothing moves
    at = rerun(model, before, 1, tiny_batches(STEPS)).before_last
    at = {name: value + np.float32(1e-5) if name.endswith("dense/kernel") else value for name, value in at.items()}
    found = diagnose(model, before=before, at=at)
    assert (found.verdict, found.layer, found.operation) == ("layer", "leaves", "sqrt")


def test_states_of_older_versions_are_compared_by_what_both_have() -> None:
    """They lack variables that the optimizer has since."""
    model = leaves()
    now = read_state(model)
    dropped = [name for name in now if name.endswith("/sound")]
    assert dropped
    then = {f"{number:05d}/{name.split('/', 1)[1]}": value for number, (name, value) in enumerate((name, value) for name, value in sorted(now.items()) if name not in dropped)}
    assert alien_variable(now, then, exact=True) is None
    kernel = next(name for name in then if name.endswith("/kernel"))
    alien = alien_variable(now, {**then, kernel: then[kernel] + 1}, exact=True)
    assert alien.path.endswith("/kernel") and alien.kind == "model"

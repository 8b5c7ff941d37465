import keras
import numpy as np
import pytest

from kseparation.training import GuardedOptimizer, WarmupSchedule
from kseparation.training.recoverable_rate import RecoverableRate
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def schedule():
    return WarmupSchedule(0.1, 3, 50, "cosine")


def test_without_trouble_it_is_the_schedule_bit_for_bit() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(RecoverableRate(schedule())))
    optimizer.build([keras.Variable(np.ones(2, "float32"))])
    for step in range(50):
        assert float(optimizer.recoverable_rate(step)) == float(schedule()(step))


def test_a_change_lowers_it_and_it_rises_to_there() -> None:
    rate = RecoverableRate(WarmupSchedule(1.0, 0, 50, "constant"), warmup_steps=4)
    GuardedOptimizer(keras.optimizers.SGD(rate)).build([keras.Variable(np.ones(2, "float32"))])
    rate.change(0.5, 10)
    np.testing.assert_allclose([float(rate(step)) for step in range(10, 16)], [0.125, 0.25, 0.375, 0.5, 0.5, 0.5])


def test_a_compiled_step_sees_the_change() -> None:
    rate = RecoverableRate(WarmupSchedule(0.1, 0, 50, "constant"), warmup_steps=1)
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(rate)))
    fit(model, tiny_batches(1))
    before = [numbers(weight) for weight in model.trainable_variables]
    rate.change(0.0, 0)
    fit(model, tiny_batches(1))
    for weight, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(numbers(weight), value)
    assert "rate_factor" in {variable.name for variable in model.optimizer.variables}


def test_it_survives_its_config() -> None:
    rate = RecoverableRate.from_config(RecoverableRate(schedule(), 7).get_config())
    assert rate.warmup_steps == 7 and rate.schedule.get_config() == schedule().get_config()
    with pytest.raises(ValueError, match="`warmup_steps` must be at least 1. Received: warmup_steps=0"):
        RecoverableRate(schedule(), 0)

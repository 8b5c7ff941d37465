import keras
import numpy as np
import pytest

from kseparation.training import GuardedOptimizer, WarmupSchedule
from tests.tiny_separator import fit, tiny_batches, tiny_separator

PEAK, WARMUP, TOTAL = 0.02, 5, 25


def expected(step: int, shape: str) -> float:
    """Learning rate of the step with this number, from 0."""
    rise = min((step + 1) / WARMUP, 1.0)
    progress = min(max(step - WARMUP, 0) / (TOTAL - WARMUP), 1.0)
    fall = {
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
        "linear_tail": 1.0 if progress <= 0.6 else (1 - progress) / 0.4,
        "constant": 1.0,
    }[shape]
    return PEAK * rise * fall


@pytest.mark.parametrize("shape", ["cosine", "linear_tail", "constant"])
def test_every_step(shape: str) -> None:
    schedule = WarmupSchedule(PEAK, WARMUP, TOTAL, shape)
    steps = range(TOTAL + 3)
    np.testing.assert_allclose([float(schedule(step)) for step in steps], [expected(step, shape) for step in steps], rtol=1e-5, atol=1e-8)


def test_without_warmup_the_first_step_has_the_peak() -> None:
    assert float(WarmupSchedule(PEAK, 0, TOTAL)(0)) == pytest.approx(PEAK)
    assert float(WarmupSchedule(PEAK, 0, TOTAL)(TOTAL)) == pytest.approx(0.0, abs=1e-9)


def test_only_applied_steps_count() -> None:
    batches = tiny_batches(6)
    batches[2][1][0, 0, 0, 0] = np.nan
    schedule = WarmupSchedule(PEAK, WARMUP, TOTAL)
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(schedule), accumulate_steps=2))
    fit(model, batches)
    assert float(model.optimizer.learning_rate) == pytest.approx(expected(2, "cosine"), rel=1e-5)


def test_config_round_trip() -> None:
    schedule = WarmupSchedule(PEAK, WARMUP, TOTAL, "linear_tail")
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(copy, WarmupSchedule) and copy.get_config() == schedule.get_config()


def test_an_unknown_shape() -> None:
    with pytest.raises(ValueError, match="`schedule` is unknown. Received: cosin. Did you mean `cosine`?"):
        WarmupSchedule(PEAK, WARMUP, TOTAL, "cosin")

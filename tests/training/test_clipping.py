import keras
import pytest

from kseparation.training.clipping import FixedNorm, PercentileNorm


@pytest.mark.parametrize("rule", [FixedNorm(0.3), PercentileNorm(25.0, 70)])
def test_config_round_trip(rule) -> None:
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
    assert type(copy) is type(rule) and copy.get_config() == rule.get_config()


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan")])
def test_a_norm_is_positive(norm: float) -> None:
    with pytest.raises(ValueError, match=f"`norm` must be positive. Received: norm={norm}"):
        FixedNorm(norm)


@pytest.mark.parametrize("percentile", [-1.0, 101.0])
def test_a_percentile_lies_between_0_and_100(percentile: float) -> None:
    with pytest.raises(ValueError, match=f"`percentile` must lie between 0 and 100. Received: percentile={percentile}"):
        PercentileNorm(percentile)


def test_a_history_has_a_step() -> None:
    with pytest.raises(ValueError, match="`history_steps` must be at least 1. Received: history_steps=0"):
        PercentileNorm(10.0, 0)

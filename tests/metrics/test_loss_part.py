"""The last value in training, the mean in validation, and no NaN that stays."""

import math

import pytest

from kseparation.metrics.loss_part import LossPart
from tests.on_backend import numbers


def updated(metric, values, running):
    for value in values:
        metric.update_state(value, running=running)
    return float(numbers(metric.result()))


def test_in_training_it_is_the_last_value():
    assert updated(LossPart(), [1.0, 5.0, 2.0], running=False) == 2.0


def test_in_validation_it_is_the_mean_since_the_reset():
    metric = LossPart()
    updated(metric, [100.0], running=False)
    metric.reset_state()
    assert updated(metric, [1.0, 5.0, 3.0], running=True) == pytest.approx(3.0)


def test_nan_is_shown_and_does_not_stick():
    metric = LossPart()
    assert math.isnan(updated(metric, [1.0, math.nan], running=False))
    assert updated(metric, [2.0], running=False) == 2.0
    metric.reset_state()
    assert updated(metric, [4.0], running=True) == 4.0


def test_before_the_first_value_it_is_zero():
    assert float(numbers(LossPart().result())) == 0.0


def test_config_round_trip():
    assert LossPart.from_config(LossPart(name="total").get_config()).name == "total"

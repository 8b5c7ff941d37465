"""The same start on every backend."""

import numpy as np
import pytest

from kseparation.layers.initializers import FanInUniform
from tests.on_backend import numbers


def test_numbers_are_the_same_on_every_backend():
    golden = [[0.12509547, 0.39721379, 0.27568570], [-0.27479282, -0.19983372, 0.37355346]]
    np.testing.assert_allclose(numbers(FanInUniform(4, seed=7)((2, 3))), golden, rtol=1e-6)


@pytest.mark.parametrize("fan_in", [1, 9, 400])
def test_fills_the_range_evenly(fan_in):
    values = numbers(FanInUniform(fan_in, seed=1)((10000,))) * np.sqrt(fan_in)
    assert np.abs(values).max() <= 1
    np.testing.assert_allclose(numbers(FanInUniform(fan_in, gain=3.0, seed=1)((10000,))) * np.sqrt(fan_in), 3 * values, rtol=1e-5)
    counts, _ = np.histogram(values, bins=10, range=(-1, 1))
    assert counts.min() > 850 and counts.max() < 1150


def test_seed_follows_that_of_keras_and_stays():
    first, second = FanInUniform(4), FanInUniform(4)
    assert first.seed != second.seed
    again = FanInUniform.from_config(first.get_config())
    np.testing.assert_array_equal(numbers(first((3,))), numbers(again((3,))))

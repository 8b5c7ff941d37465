"""Normalisation by the definition, and statistics that a bad batch cannot reach."""

import numpy as np
import pytest

from kseparation.layers import FiniteBatchNormalization
from tests.on_backend import compute, numbers
from tests.random_weights import randomize
from tests.reference import network


def built(axis=-1, **arguments):
    layer = FiniteBatchNormalization(axis=axis, **arguments)
    layer.build((4, 3, 5, 2))
    return randomize(layer)


def batch():
    return np.random.default_rng(0).normal(2.0, 3.0, (4, 3, 5, 2)).astype("float32")


@pytest.mark.parametrize("axis", [-1, 2, 1])
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_in_inference_it_uses_the_running_statistics(axis, epsilon):
    layer = built(axis, epsilon=epsilon)
    weights = [numbers(weight).astype("float64") for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)]
    expected = network.normalize(batch().astype("float64"), *weights, axis, epsilon)
    np.testing.assert_allclose(compute(layer, batch()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [-1, 2])
def test_in_training_it_uses_and_keeps_those_of_the_batch(axis):
    layer = built(axis, momentum=0.75)
    features = batch().astype("float64")
    others = tuple(other for other in range(4) if other != axis % 4)
    mean, variance = features.mean(axis=others), features.var(axis=others)
    old = numbers(layer.moving_mean), numbers(layer.moving_variance)
    result = numbers(layer(batch(), training=True))
    expected = network.normalize(features, numbers(layer.gamma), numbers(layer.beta), mean, variance, axis)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numbers(layer.moving_mean), 0.75 * old[0] + 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(numbers(layer.moving_variance), 0.75 * old[1] + 0.25 * variance, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_batch_that_is_not_finite_leaves_the_statistics_bit_for_bit(bad):
    """3e38 is finite, its square is not."""
    layer, features = built(), batch()
    before = numbers(layer.moving_mean), numbers(layer.moving_variance)
    features[1, 2, 3, 0] = bad
    layer(features, training=True)
    after = numbers(layer.moving_mean), numbers(layer.moving_variance)
    assert before[0].tobytes() == after[0].tobytes()
    assert before[1].tobytes() == after[1].tobytes()
    layer(batch(), training=True)
    assert np.all(numbers(layer.moving_mean) != before[0])

"""Normalisation by the definition, and statistics that a bad batch cannot reach."""

import numpy as np
import pytest

from kseparation.layers import FiniteBatchNormalization
from tests.on_backend import compute, numbers, read_in_half
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


def test_a_small_deviation_about_a_large_mean_keeps_its_digits():
    """The square of 10000 leaves float32 no digit for a variance of 1."""
    layer, features = FiniteBatchNormalization(momentum=0.0), batch()
    features[..., 0] = 10000 + np.random.default_rng(2).choice([-1.0, 1.0], (4, 3, 5))
    exact = features.astype("float64")
    mean, variance = exact.mean(axis=(0, 1, 2)), exact.var(axis=(0, 1, 2))
    result = numbers(layer(features, training=True))
    np.testing.assert_allclose(numbers(layer.moving_variance), variance, rtol=1e-4)
    np.testing.assert_allclose(result, network.normalize(exact, np.ones(2), np.zeros(2), mean, variance), rtol=0, atol=1e-3)


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


def test_in_training_a_bias_in_front_moves_the_kept_mean_and_nothing_else():
    layer, other, bias = built(momentum=0.75), built(momentum=0.75), np.array([0.5, -3.0], "float32")
    with_bias, plain = numbers(layer(batch(), bias, training=True)), numbers(other(batch(), training=True))
    np.testing.assert_allclose(with_bias, plain, atol=1e-6)
    np.testing.assert_allclose(numbers(layer.moving_mean) - numbers(other.moving_mean), 0.25 * bias, atol=1e-5)
    np.testing.assert_array_equal(numbers(layer.moving_variance), numbers(other.moving_variance))


@pytest.mark.parametrize("training", [False, True])
def test_in_half_precision_it_still_counts_in_single(training):
    """Squares of 300 are beyond what float16 holds."""
    features = 300 * np.random.default_rng(1).choice([-1.0, 1.0], (4, 3, 5, 2)).astype("float32")
    results = []
    for policy in ("float32", "mixed_float16"):
        layer = FiniteBatchNormalization(dtype=policy)
        layer.build(features.shape)
        layer.moving_variance.assign([9e4, 1.1e5])
        results.append(numbers(layer(features.astype(layer.compute_dtype), training=training)).astype("float32"))
        assert numbers(layer.moving_variance).dtype == "float32" and np.all(numbers(layer.moving_variance) > 8e4)
    np.testing.assert_allclose(results[1], results[0], rtol=2e-3, atol=2e-3)


def test_a_bias_in_front_is_not_rounded_in_half_precision():
    layer, bias = built(momentum=0.0, dtype="mixed_bfloat16"), np.array([0.1, -3.3], "float32")
    layer(np.zeros_like(batch()), bias, training=True)
    np.testing.assert_array_equal(numbers(layer.moving_mean), bias)


def test_its_weights_are_read_in_single_precision():
    layer = built(dtype="mixed_bfloat16")
    for weight in layer.weights:
        np.testing.assert_array_equal(read_in_half(weight), numbers(weight))

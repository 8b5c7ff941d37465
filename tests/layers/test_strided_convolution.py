"""Convolutions with a stride of two against NumPy and against each other."""

import keras
import numpy as np
import pytest

from kseparation.layers import StridedConvolution, TransposedConvolution
from tests.on_backend import compute, numbers
from tests.reference.strided_convolution import halved


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def built(layer, channels):
    layer.build((None, None, 8, channels))
    for index, weight in enumerate(layer.weights):
        weight.assign(noise(*weight.shape, seed=index + 5))
    return layer, numbers(layer.kernel).astype("float64"), numbers(layer.bias)


@pytest.mark.parametrize("bins", [6, 7])
def test_strided_convolution_is_its_definition(bins):
    layer, kernel, bias = built(StridedConvolution(4), 3)
    features = noise(2, 8, bins, 3)
    even = np.pad(features, ((0, 0), (0, 0), (0, bins % 2), (0, 0)))
    np.testing.assert_allclose(compute(layer, features), halved(even, kernel) + bias, atol=1e-4)


def test_strided_convolution_is_that_of_keras_where_sizes_are_even():
    layer, kernel, bias = built(StridedConvolution(4), 3)
    features = noise(2, 8, 6, 3)
    convolved = compute(lambda x: keras.ops.conv(x, kernel.astype("float32"), 2, "same", "channels_last"), features)
    np.testing.assert_allclose(compute(layer, features), convolved + bias, atol=1e-4)


def test_transposed_convolution_is_the_transpose():
    """<halved(x), y> = <x, doubled(y)> for the same kernel."""
    layer, kernel, bias = built(TransposedConvolution(3), 4)
    x, y = noise(1, 8, 6, 3), noise(1, 4, 3, 4, seed=1)
    assert kernel.shape == (5, 5, 3, 4)
    doubled = compute(layer, y) - bias
    assert doubled.shape == x.shape
    assert np.vdot(x, doubled) == pytest.approx(np.vdot(halved(x, kernel), y), rel=1e-4)
    for place in np.ndindex(2, 3):  # each place by itself
        one = np.zeros_like(y)
        one[0, place[0], place[1]] = y[0, place[0], place[1]]
        doubled = compute(lambda y: layer(y), one) - bias
        assert np.vdot(x, doubled) == pytest.approx(np.vdot(halved(x, kernel), one), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("layer", [StridedConvolution, TransposedConvolution])
def test_words_of_errors(layer):
    with pytest.raises(ValueError, match="`filters` must be at least 1. Received: filters=0"):
        layer(0)


def test_an_odd_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"must be even. Received: features of shape \(2, 3, 8, 1\)"):
        built(StridedConvolution(2), 1)[0](noise(2, 3, 8, 1))


@pytest.mark.parametrize(("layer", "inputs_of_each_output"), [(StridedConvolution, 25 * 16), (TransposedConvolution, 25 * 16 / 4)])
def test_the_start_keeps_the_power_through_a_rectifier(layer, inputs_of_each_output):
    layer = layer(64)
    layer.build((None, None, 8, 16))
    kernel = numbers(layer.kernel)
    assert np.abs(kernel).max() == pytest.approx(np.sqrt(6 / inputs_of_each_output), rel=1e-2)
    assert kernel.var() == pytest.approx(2 / inputs_of_each_output, rel=0.05)

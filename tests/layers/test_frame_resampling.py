"""Halving and doubling frames against strided convolutions written out."""

import numpy as np
import pytest

from kseparation.layers import FrameDownsample, FrameUpsample
from tests.on_backend import compute, numbers, read_in_half
from tests.random_weights import layer_weights, randomize
from tests.reference import network


@pytest.mark.parametrize(
    ("layer_class", "convolution"),
    [(FrameDownsample, network.strided_convolution), (FrameUpsample, network.transposed_convolution)],
)
def test_is_the_strided_convolution_then_normalisation_and_relu(layer_class, convolution):
    features = np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype("float32")
    layer = layer_class(7)
    layer.build(features.shape)
    weights = layer_weights(randomize(layer))
    convolved = convolution(features.astype("float64"), weights["kernel"], weights["bias"])
    expected = network.relu(network.normalize(convolved, *network.statistics(weights, "normalization")))
    result = compute(layer, features)
    assert result.shape[1] == (3 if layer_class is FrameDownsample else 12)
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("layer_class", [FrameDownsample, FrameUpsample])
def test_weights_that_take_up_the_normalisation_are_read_in_single_precision(layer_class):
    layer = layer_class(7, dtype="mixed_bfloat16")
    layer.build((2, 6, 5, 3))
    for weight in randomize(layer).weights:
        np.testing.assert_array_equal(read_in_half(weight), numbers(weight))


def test_an_odd_number_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"`features` must have an even number of frames. Received: features of shape \(2, 5, 4, 3\)"):
        FrameDownsample(7)(np.zeros((2, 5, 4, 3), "float32"))

"""Halving and doubling frames against strided convolutions written out."""

import numpy as np
import pytest

from kseparation.layers import FrameDownsample, FrameUpsample
from tests.on_backend import compute
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

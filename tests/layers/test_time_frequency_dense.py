"""The block and its parts against NumPy, in inference with random statistics."""

import numpy as np
import pytest

from kseparation.layers import BandConvolutionUnit, FrequencyDense, TimeFrequencyDenseBlock
from tests.on_backend import compute, numbers, read_in_half
from tests.random_weights import layer_weights, randomize
from tests.reference import network

CASES = [
    (BandConvolutionUnit(6, 3, 2), lambda x, weights: network.convolution_unit(x, weights, 2)),
    (FrequencyDense(4), network.frequency_dense),
    (TimeFrequencyDenseBlock(1, 3, 2), lambda x, weights: network.time_frequency_dense_block(x, weights, 1, 2)),
    (TimeFrequencyDenseBlock(2, 1, 1), lambda x, weights: network.time_frequency_dense_block(x, weights, 2, 1)),
]


@pytest.mark.parametrize(("layer", "reference"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_is_the_definition(layer, reference):
    features = np.random.default_rng(0).standard_normal((2, 3, 16, 4)).astype("float32")
    layer = type(layer).from_config(layer.get_config())
    layer.build(features.shape)
    expected = reference(features.astype("float64"), layer_weights(randomize(layer)))
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(compute(layer, features), expected, rtol=0, atol=1e-5 * expected.max())


def test_dense_layer_is_shared_by_frames():
    """Frames that change places change places in the result."""
    features = np.random.default_rng(0).standard_normal((1, 4, 16, 2)).astype("float32")
    layer = FrequencyDense()
    layer.build(features.shape)
    randomize(layer)
    np.testing.assert_allclose(compute(layer, features[:, ::-1].copy()), compute(layer, features)[:, ::-1], atol=1e-5)


def test_biases_that_go_into_the_normalisation_are_read_in_single_precision():
    layer = FrequencyDense(4, dtype="mixed_bfloat16")
    layer.build((2, 3, 16, 4))
    for weight in (randomize(layer).contract_bias, layer.expand_bias):
        np.testing.assert_array_equal(read_in_half(weight), numbers(weight))


def test_words_of_errors():
    with pytest.raises(ValueError, match="`waist_factor` leaves no unit. Received: waist_factor=8, bins=7"):
        FrequencyDense().build((None, None, 7, 2))
    with pytest.raises(ValueError, match="`convolutions` must be at least 1. Received: convolutions=0"):
        TimeFrequencyDenseBlock(0)

"""Each form of the convolution is the grouped convolution of the definition."""

import numpy as np
import pytest
from keras import ops

from kseparation.layers import BandConvolution
from tests.on_backend import compute, gradient_of, numbers, read_in_half
from tests.random_weights import layer_weights, randomize
from tests.reference import network


@pytest.mark.parametrize(
    ("bands", "channels", "filters", "kernel_size"), [(1, 5, 6, 3), (3, 6, 9, 3), (2, 4, 2, 5), (2, 24, 6, 3), (2, 20, 4, 1)]
)
def test_is_a_grouped_convolution(bands, channels, filters, kernel_size):
    features = np.random.default_rng(0).standard_normal((2, 6, 5, channels)).astype("float32")
    layer = BandConvolution(filters, kernel_size, bands)
    layer.build(features.shape)
    weights = layer_weights(randomize(layer))
    expected = network.grouped_convolution(features, weights["kernel"], weights["bias"], bands)
    np.testing.assert_allclose(compute(layer, features), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("channels", [6, 30])
def test_a_band_hears_its_own_channels_only(channels):
    bands = 3
    layer = BandConvolution(2 * bands, 3, bands)
    layer.build((1, 4, 4, channels))
    for band in range(bands):
        gradient = gradient_of(
            lambda x: ops.sum(ops.square(layer(x)[..., 2 * band : 2 * band + 2])), np.ones((1, 4, 4, channels), "float32")
        )
        heard = np.abs(gradient).max(axis=(0, 1, 2)).reshape(bands, -1) > 0
        assert heard[band].all() and not np.delete(heard, band, axis=0).any()


def test_starts_between_plus_and_minus_one_over_the_root_of_what_a_filter_sees():
    layer = BandConvolution(32, 3, 4)
    layer.build((None, None, 8, 16))
    limit = 1 / np.sqrt(3 * 3 * 4)
    for weight in (layer.kernel, layer.bias):
        assert limit * 0.8 < np.abs(numbers(weight)).max() <= limit


def test_its_weights_are_read_in_single_precision():
    """A normalisation behind it works on them in float32; `convolve` rounds them."""
    layer = BandConvolution(6, 3, 2, dtype="mixed_bfloat16")
    layer.build((1, 4, 5, 4))
    for weight in randomize(layer).weights:
        np.testing.assert_array_equal(read_in_half(weight), numbers(weight))
    assert layer(np.ones((1, 4, 5, 4), "float32")).dtype == ops.zeros((), "bfloat16").dtype


def test_words_of_errors():
    with pytest.raises(ValueError, match="`filters` must be a multiple of `bands`. Received: filters=5, bands=2"):
        BandConvolution(5, 3, 2)
    with pytest.raises(ValueError, match="`kernel_size` must be odd. Received: kernel_size=4"):
        BandConvolution(4, 4)
    with pytest.raises(ValueError, match="`bands` must divide the number of input channels, 5. Received: bands=2"):
        BandConvolution(4, 3, 2).build((None, None, 8, 5))

"""Bands move into the channels and back without loss, each to its place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseparation.layers import BandMerge, BandSplit
from tests.on_backend import compute


@settings(max_examples=8)
@given(bands=st.integers(1, 4), bins=st.integers(1, 4), channels=st.integers(1, 3), frames=st.integers(1, 3))
def test_merge_undoes_split(bands, bins, channels, frames):
    spectrum = np.random.default_rng(0).standard_normal((2, frames, bands * bins, channels)).astype("float32")
    split, merge = BandSplit(bands), BandMerge(bands)
    np.testing.assert_array_equal(compute(lambda x: merge(split(x)), spectrum), spectrum)


def test_channel_is_band_times_channels_plus_channel():
    bands, bins, channels = 3, 4, 2
    spectrum = np.arange(2 * 5 * bands * bins * channels, dtype="float32").reshape(2, 5, bands * bins, channels)
    split = compute(BandSplit(bands), spectrum)
    assert split.shape == (2, 5, bins, bands * channels)
    for band in range(bands):
        for channel in range(channels):
            expected = spectrum[:, :, band * bins : (band + 1) * bins, channel]
            np.testing.assert_array_equal(split[..., band * channels + channel], expected)


@pytest.mark.parametrize("bands", [0, 3])
def test_bands_must_divide(bands):
    with pytest.raises(ValueError, match=f"`bands` must divide the number of bins, 8. Received: bands={bands}"):
        BandSplit(bands).build((None, None, 8, 2))
    with pytest.raises(ValueError, match=f"`bands` must divide the number of channels, 2. Received: bands={bands}"):
        BandMerge(bands).build((None, None, 8, 2))

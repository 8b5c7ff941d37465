"""Mean absolute difference of magnitudes at one window length."""

import numpy as np
import pytest

from kseparation.losses import MagnitudeL1
from tests.on_backend import compute, gradient_of
from tests.reference.spectrogram import spectrum


def noise(seed):
    return np.random.default_rng(seed).standard_normal((2, 3, 200, 2)).astype("float32")


def test_value_from_the_definition():
    true, pred = noise(0), noise(1)

    def magnitudes(audio):
        return np.abs(spectrum(audio.transpose(0, 1, 3, 2), 64, 16, frames=1 + 200 // 16))

    expected = np.abs(magnitudes(true) - magnitudes(pred)).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(compute(MagnitudeL1(64, 16).call, true, pred), expected, rtol=1e-4)


def test_the_phase_does_not_count_and_silence_has_a_gradient():
    true = noise(0)
    assert compute(MagnitudeL1(64, 16), true, -true) == pytest.approx(0.0, abs=1e-6)
    silence = np.zeros((1, 1, 100, 1), "float32")
    gradient = gradient_of(lambda pred: MagnitudeL1(64, 16)(true[:1, :1, :100, :1], pred), silence)
    assert np.all(np.isfinite(gradient))
    gradient = gradient_of(lambda pred: MagnitudeL1(64, 16)(silence, pred), silence)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("sizes", [(1, 1), (64, 0), (64, 65)])
def test_words_of_errors(sizes):
    with pytest.raises(ValueError, match=f"Received: window_samples={sizes[0]}, hop_samples={sizes[1]}"):
        MagnitudeL1(*sizes)

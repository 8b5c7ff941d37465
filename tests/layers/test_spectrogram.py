"""The transform as layers: layout, lengths, precision and refusals."""

import keras
import numpy as np
import pytest

from kseparation.layers import STFT, InverseSTFT
from tests.on_backend import compute
from tests.reference import spectrogram


def noise(*shape):
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("strategy", ["fft", "matmul"])
def test_channels_come_last(strategy):
    audio = noise(2, 500, 3)
    real, imag = compute(STFT(64, 24, 80, strategy), audio)
    expected = np.moveaxis(spectrogram.spectrum(np.swapaxes(audio, 1, 2), 64, 24, 80), 1, -1)
    assert real.shape == expected.shape
    np.testing.assert_allclose(real + 1j * imag, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("samples", [1, 63, 500])
@pytest.mark.parametrize("hop", [16, 32])
def test_inverse_restores_the_audio(samples, hop):
    audio = noise(2, samples, 2)
    forward, backward = STFT(64, hop), InverseSTFT(64, hop)
    np.testing.assert_allclose(compute(lambda x: backward(*forward(x), samples=samples), audio), audio, rtol=0, atol=1e-5)


def test_stays_in_float32_under_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = STFT(64, 16)
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer.compute_dtype == "float32"
    real, _ = compute(layer, noise(1, 100, 1))
    expected = spectrogram.spectrum(noise(1, 100, 1)[..., 0], 64, 16).real
    np.testing.assert_allclose(real[..., 0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layer_class", [STFT, InverseSTFT])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window_samples": 1, "hop_samples": 1}, "`window_samples` must be at least 2. Received: window_samples=1"),
        ({"window_samples": 8, "hop_samples": 0}, "`hop_samples` must lie between 1 and half the window.*hop_samples=0"),
        ({"window_samples": 8, "hop_samples": 5}, "hop_samples=5, window_samples=8"),
        ({"window_samples": 8, "hop_samples": 2, "fft_size": 7}, "`fft_size` must be at least `window_samples`=8. Received: fft_size=7"),
        ({"window_samples": 8, "hop_samples": 2, "strategy": "mat"}, "`strategy` is unknown. Received: strategy=mat. Did you mean `matmul`"),
    ],
)
def test_words_of_errors(layer_class, arguments, words):
    with pytest.raises(ValueError, match=words):
        layer_class(**arguments)

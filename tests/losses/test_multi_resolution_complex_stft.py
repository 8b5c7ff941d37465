"""Each switch of the spectral loss against NumPy, and its behaviour at the edges."""

import numpy as np
import pytest
from keras import ops

from kseparation.losses import MultiResolutionComplexSTFT
from kseparation.losses.multi_resolution_complex_stft import DISTANCES, PRESETS
from tests.on_backend import compute, compute_parts, gradient_of
from tests.reference import spectrogram

SMALL = {"windows": (64, 32), "hop_samples": (16, 10), "minimum_fft_size": 48}


def definition(true, pred, windows, hop_samples, minimum_fft_size, distance, aggregation, center):
    """Loss of each batch item from `(batch, stems, samples, channels)`."""
    total = np.zeros(len(true))
    for window, hop in zip(windows, hop_samples):
        fft_size = max(window, minimum_fft_size)
        true_spectrum, pred_spectrum = (
            spectrogram.spectrum(np.swapaxes(part, 2, 3), window, hop, fft_size, center, frames=1 + true.shape[2] // hop) for part in (true, pred)
        )
        difference = pred_spectrum - true_spectrum
        magnitudes = np.abs(np.abs(pred_spectrum) - np.abs(true_spectrum))
        parts = np.abs(difference.real) + np.abs(difference.imag)
        cost = {
            "complex": np.abs(difference),
            "magnitude": magnitudes,
            "parts": parts / 2,
            "magnitude_and_parts": magnitudes + parts / 2,
        }[distance]
        total += cost.mean(axis=(1, 2, 3, 4))
    return total / len(windows) if aggregation == "mean" else total


def stems(*shape):
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize(("aggregation", "center"), [("sum", True), ("mean", False)])
@pytest.mark.parametrize("distance", DISTANCES)
def test_is_the_definition(distance, aggregation, center):
    switches = {**SMALL, "distance": distance, "aggregation": aggregation, "center": center}
    true, pred = stems(2, 3, 200, 2), stems(2, 3, 200, 2)[::-1].copy()
    loss = MultiResolutionComplexSTFT(**switches)
    np.testing.assert_allclose(compute(loss.call, true, pred), definition(true, pred, **switches), rtol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_the_published_losses(preset):
    """Written out here once more, apart from the code."""
    published = {
        "bsmamba2": ((4096, 2048, 1024, 512, 256), (147,) * 5, 2048, "complex", "sum"),
        "multi_resolution_mae": ((6144, 4096, 3072), (1024, 768, 512), 1, "parts", "sum"),
    }[preset]
    true, pred = stems(1, 1, 3000, 1), stems(1, 2, 3000, 1)[:, :1]
    expected = definition(true, pred, *published, center=True)
    np.testing.assert_allclose(compute(MultiResolutionComplexSTFT.from_preset(preset).call, true, pred), expected, rtol=1e-5)


def test_parts_add_up_and_are_named_after_their_windows():
    loss = MultiResolutionComplexSTFT(**SMALL)
    true, pred = stems(2, 1, 150, 2), stems(2, 1, 150, 2)[::-1].copy()
    parts = compute_parts(loss, true, pred)
    assert list(parts) == ["64", "32"]
    np.testing.assert_allclose(sum(parts.values()), compute(loss.call, true, pred), rtol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("samples", [1, 40])
def test_loss_and_gradient_are_finite_for_silence_and_full_scale(distance, samples):
    loss = MultiResolutionComplexSTFT((32,), 8, 1, distance=distance)
    ones = np.ones((4, 2, samples, 2), "float32")
    true, pred = (ones * np.array(levels)[:, None, None, None].astype("float32") for levels in ((0, 0, 1, 1), (0, 1, 0, 1)))
    values = compute(loss.call, true, pred)
    assert np.all(np.isfinite(values)) and np.all(values[[0, 3]] == 0) and np.all(values[[1, 2]] > 0)
    gradient = gradient_of(lambda pair: ops.sum(loss.call(pair[0], pair[1])), np.stack([true, pred]))
    assert np.all(np.isfinite(gradient))


def test_config_round_trip_keeps_every_switch():
    arguments = {**SMALL, "distance": "parts", "aggregation": "mean", "center": False, "name": "spectral"}
    again = MultiResolutionComplexSTFT.from_config(MultiResolutionComplexSTFT(**arguments).get_config())
    assert again.get_config() == arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"windows": ()}, "`windows` needs at least one window length of 2 samples or more, each once. Received"),
        ({"windows": (64, 1)}, "`windows` needs at least one window length of 2 samples or more, each once. Received"),
        ({"windows": (64, 64)}, "`windows` needs at least one window length of 2 samples or more, each once. Received"),
        ({"minimum_fft_size": 0}, "`minimum_fft_size` must be at least 1. Received"),
        ({"hop_samples": (1, 2)}, "`hop_samples` must be one positive number or one for each window. Received"),
        ({"windows": (64, 32), "hop_samples": 33}, "`hop_samples` must not exceed the window"),
        ({"hop_samples": 0}, "Received: hop_samples=0"),
        ({"distance": "complexx"}, "`distance` is unknown. Received: distance=complexx. Did you mean `complex`"),
        ({"aggregation": "summ"}, "`aggregation` is unknown. Received: aggregation=summ. Did you mean `sum`"),
    ],
)
def test_words_of_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        MultiResolutionComplexSTFT(**arguments)


def test_unknown_preset_is_named():
    with pytest.raises(ValueError, match="`preset` is unknown. Received: preset=bsmamba. Did you mean `bsmamba2`"):
        MultiResolutionComplexSTFT.from_preset("bsmamba")

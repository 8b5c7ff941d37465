"""Magnitudes at several window lengths against NumPy, and at the edges. `tests/parity` holds the loss against a public one."""

import numpy as np
import pytest

from kseparation.losses import MultiResolutionSTFT
from tests.on_backend import compute, compute_parts, gradient_of
from tests.reference.spectrogram import spectrum

TERMS = ("spectral_convergence", "log_magnitude", "linear_magnitude")
WEIGHTS = dict(zip(TERMS, (0.5, 2.0, 3.0)))


def stems(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def definition(true, pred, window):
    """The three terms of each item at one window length."""

    def magnitudes(audio):
        power = np.abs(spectrum(np.swapaxes(audio, 2, 3), window, window // 4, frames=1 + audio.shape[2] // (window // 4))) ** 2
        return np.sqrt(np.maximum(power, 1e-8)).reshape(len(audio), -1)

    true, pred = magnitudes(true), magnitudes(pred)
    convergence = np.linalg.norm(true - pred, axis=1) / np.linalg.norm(true, axis=1)
    return convergence, np.abs(np.log(true) - np.log(pred)).mean(axis=1), np.abs(true - pred).mean(axis=1)


def test_each_part_is_its_definition_and_they_add_up():
    loss = MultiResolutionSTFT((64, 32), **WEIGHTS)
    true, pred = stems(2, 3, 300, 2), 0.5 * stems(2, 3, 300, 2, seed=1)
    parts = compute_parts(loss, true, pred)
    assert list(parts) == loss.part_names == [f"{window}_{term}" for window in (64, 32) for term in TERMS]
    for window in (64, 32):
        for term, value in zip(TERMS, definition(true, pred, window)):
            np.testing.assert_allclose(parts[f"{window}_{term}"], WEIGHTS[term] * value / 2, rtol=1e-4)
    np.testing.assert_allclose(compute(loss.call, true, pred), sum(parts.values()), rtol=1e-5)


def test_terms_of_weight_zero_are_left_out():
    loss = MultiResolutionSTFT((32,), spectral_convergence=0.0, log_magnitude=0.0, linear_magnitude=1.0)
    assert list(compute_parts(loss, stems(1, 1, 100, 1), stems(1, 1, 100, 1, seed=1))) == ["32_linear_magnitude"]


@pytest.mark.parametrize("samples", [1, 100])
def test_loss_and_gradient_are_finite_for_silence_equality_and_full_scale(samples):
    loss = MultiResolutionSTFT((64, 32), **WEIGHTS)
    silence, sound = np.zeros((1, 2, samples, 1), "float32"), np.ones((1, 2, samples, 1), "float32")
    for true in (silence, sound):
        for pred in (silence, sound):
            assert np.isfinite(compute(loss, true, pred))
            gradient = gradient_of(lambda pred, true=true: loss(true, pred), pred)
            assert np.all(np.isfinite(gradient))


def test_a_silent_stem_beside_another_is_no_explosion():
    """Its own spectrum is nothing to divide by."""
    true, pred = stems(1, 2, 300, 1), stems(1, 2, 300, 1, seed=1)
    true[:, 1] = 0
    assert compute(MultiResolutionSTFT((64,), log_magnitude=0.0), true, pred) < 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"windows": ()}, r"`windows` needs at least one window length of 4 samples or more, each once. Received: windows=\(\)"),
        ({"windows": (64, 64)}, "each once. Received: windows=.64, 64."),
        ({"log_magnitude": -1.0}, "`log_magnitude` must be a number from 0 on. Received: log_magnitude=-1.0"),
        ({"linear_magnitude": float("nan")}, "`linear_magnitude` must be a number from 0 on. Received: linear_magnitude=nan"),
        ({"spectral_convergence": 0.0, "log_magnitude": 0.0}, "must be above 0. Received: all 0"),
        ({"smallest_power": 0.0}, "`smallest_power` must lie between 0 and 1. Received: smallest_power=0.0"),
    ],
)
def test_words_of_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        MultiResolutionSTFT(**arguments)

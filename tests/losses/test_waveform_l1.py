"""The mean absolute difference, per batch item."""

import numpy as np

from kseparation.losses import WaveformL1
from kseparation.losses.waveform_l1 import waveform_l1
from tests.on_backend import compute, gradient_of


def test_is_the_mean_over_all_but_the_batch():
    true, pred = np.random.default_rng(0).standard_normal((2, 3, 4, 50, 2)).astype("float32")
    expected = np.abs(np.float64(pred) - true).reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(compute(waveform_l1, true, pred), expected, rtol=1e-5)
    np.testing.assert_allclose(compute(WaveformL1(), true, pred), expected.mean(), rtol=1e-5)


def test_half_precision_is_averaged_in_float32():
    true = np.zeros((1, 1, 70000, 2), "float16")
    assert compute(waveform_l1, true, true + np.float16(0.5))[0] == 0.5


def test_silence_costs_nothing():
    silence = np.zeros((1, 1, 1, 2), "float32")
    assert compute(waveform_l1, silence, silence)[0] == 0
    assert np.all(np.isfinite(gradient_of(lambda x: waveform_l1(silence, x)[0], silence)))

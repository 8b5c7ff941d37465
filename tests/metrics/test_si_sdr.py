"""SI-SDR against its definition, its invariance to scale, and at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseparation.metrics import SISDR


def definition(reference, estimate):
    reference, estimate = np.float64(reference).ravel(), np.float64(estimate).ravel()
    target = (reference @ estimate) / (reference @ reference) * reference
    return 10 * math.log10(np.sum(target**2) / np.sum((target - estimate) ** 2))


def score_of(reference, estimate):
    score = SISDR(["a"])
    score.update(reference, estimate)
    return score.result()["a"]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 400), noise_db=st.floats(-60, 0))
def test_equals_the_definition_for_any_cut_into_blocks(seed, cut, noise_db):
    random = np.random.default_rng(seed)
    reference = random.normal(size=(2, 400, 2)).astype(np.float32)
    estimate = (reference + 10 ** (noise_db / 20) * random.normal(size=reference.shape)).astype(np.float32)
    score = SISDR(["a", "b"])
    score.update(reference[:, :cut], estimate[:, :cut])
    score.update(reference[:, cut:], estimate[:, cut:])
    for index, value in enumerate(score.result().values()):
        # The added 1e-10 is worth 4e-4 dB at 60 dB, and less below.
        assert value == pytest.approx(definition(reference[index], estimate[index]), abs=1e-3)


@pytest.mark.parametrize("factor", [1e-12, 0.5, 1e6, -1.0])
def test_does_not_depend_on_the_scale_of_the_estimate(factor):
    random = np.random.default_rng(1)
    reference = random.normal(size=(1, 300, 2))
    estimate = reference + 0.3 * random.normal(size=reference.shape)
    assert score_of(reference, factor * estimate) == pytest.approx(score_of(reference, estimate), abs=1e-9)


@pytest.mark.parametrize("reference_level", [0.0, 1e-38, 1.0, 32768.0])
@pytest.mark.parametrize("estimate_level", [0.0, 1e-38, 1.0, 32768.0])
@pytest.mark.parametrize("samples", [0, 1, 64])
def test_is_finite_and_bounded_for_finite_input(reference_level, estimate_level, samples):
    value = score_of(np.full((1, samples, 2), reference_level), np.full((1, samples, 2), estimate_level))
    if reference_level == 0.0 or samples == 0:
        assert value is None
    else:
        assert -100.001 <= value <= 100.001


def test_silence():
    signal, silence = np.ones((1, 10, 2)), np.zeros((1, 10, 2))
    assert score_of(signal, silence) == pytest.approx(-100)
    assert score_of(silence, signal) is None
    assert score_of(silence, silence) is None
    assert score_of(signal, signal) == pytest.approx(100)


def test_no_mean_is_subtracted():
    reference = np.array([[[1.0], [2.0], [3.0]]])
    assert score_of(reference, reference + 1.0) == pytest.approx(definition(reference, reference + 1.0), abs=1e-6)


def test_a_value_that_is_not_finite_does_not_pass_for_silence():
    assert math.isnan(score_of(np.ones((1, 3, 1)), np.array([[[1.0], [np.nan], [1.0]]])))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="`reference` and `estimate` must both have the shape"):
        SISDR(["a"]).update(np.zeros((1, 3, 2)), np.zeros((1, 3, 1)))

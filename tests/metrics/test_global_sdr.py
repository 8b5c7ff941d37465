"""The global SDR against its definition, block by block, and at the edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseparation.metrics import GlobalSDR


def definition(reference, estimate):
    reference, estimate = np.float64(reference), np.float64(estimate)
    return 10 * math.log10((np.sum(reference**2) + 1e-7) / (np.sum((reference - estimate) ** 2) + 1e-7))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 500), max_size=5), level_db=st.floats(-120, 0))
def test_equals_the_definition_for_any_cut_into_blocks(seed, cuts, level_db):
    random = np.random.default_rng(seed)
    reference = random.normal(size=(2, 500, 2)).astype(np.float32) * np.float32(10 ** (level_db / 20))
    estimate = (reference + 0.1 * random.normal(size=reference.shape)).astype(np.float32)
    score = GlobalSDR(["a", "b"])
    edges = sorted({0, 500, *cuts})
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        score.update(reference[:, start:stop], estimate[:, start:stop])
    result = score.result()
    assert list(result) == ["a", "b"]
    for index, stem in enumerate(result):
        assert result[stem] == pytest.approx(definition(reference[index], estimate[index]), abs=1e-9)


def test_joint_over_channels_is_not_the_mean_of_channels():
    reference = np.stack([np.ones(100), np.full(100, 0.1)], axis=-1)[None]
    estimate = reference + np.array([0.01, 0.1])
    score = GlobalSDR(["a"])
    score.update(reference, estimate)
    assert score.result()["a"] == pytest.approx(10 * math.log10(1.01 / 0.0101), abs=1e-4)


@pytest.mark.parametrize("reference_level", [0.0, 1e-30, 1.0, 32768.0])
@pytest.mark.parametrize("estimate_level", [0.0, 1e-30, 1.0, 32768.0])
@pytest.mark.parametrize("samples", [0, 1, 64])
def test_is_finite_for_finite_input(reference_level, estimate_level, samples):
    score = GlobalSDR(["a"])
    score.update(np.full((1, samples, 2), reference_level), np.full((1, samples, 2), estimate_level))
    assert math.isfinite(score.result()["a"])


def test_silence_as_output_scores_zero_and_a_perfect_output_is_finite():
    reference = np.random.default_rng(0).normal(size=(1, 1000, 2))
    score = GlobalSDR(["a"])
    score.update(reference, np.zeros_like(reference))
    assert score.result()["a"] == pytest.approx(0.0, abs=1e-9)
    score.reset()
    score.update(reference, reference)
    assert score.result()["a"] == pytest.approx(10 * math.log10(np.sum(reference**2) / 1e-7), abs=1e-6)


@pytest.mark.parametrize(
    ("reference_shape", "estimate_shape"), [((1, 9, 2), (1, 8, 2)), ((2, 9, 2), (2, 9, 2)), ((9, 2), (9, 2))]
)
def test_wrong_shapes_are_named(reference_shape, estimate_shape):
    with pytest.raises(
        ValueError, match=r"`reference` and `estimate` must both .* with 1 stems\. Received: reference\.shape"
    ):
        GlobalSDR(["a"]).update(np.zeros(reference_shape), np.zeros(estimate_shape))

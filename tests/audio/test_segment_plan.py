import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseparation.audio.segment_plan import OverlapAdd, SegmentPlan
from kseparation.errors import UserError

PLANS = st.builds(
    SegmentPlan, samples=st.integers(1, 500), segment_samples=st.integers(1, 60), overlap=st.floats(0, 0.99)
)


@given(PLANS)
def test_segments_cover_the_track_and_none_is_idle(plan):
    assert plan.starts[0] == 0
    assert plan.starts[-1] + plan.segment_samples >= plan.samples
    assert len(plan.starts) == 1 or plan.starts[-2] + plan.segment_samples < plan.samples
    assert 1 <= plan.hop_samples <= plan.segment_samples
    assert plan.window.shape == (plan.segment_samples,) and (plan.window > 0).all()


@given(PLANS, st.integers(0, 9))
def test_joining_the_cut_gives_the_track(plan, seed):
    track = np.random.default_rng(seed).standard_normal((2, plan.samples, 3)).astype(np.float32)
    padded = np.pad(track, ((0, 0), (0, plan.segment_samples), (0, 0)))
    join = OverlapAdd(plan, stems=2, channels=3)
    blocks = [join.add(padded[:, start : start + plan.segment_samples]) for start in plan.starts]
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), track, atol=1e-6, rtol=2e-6)


def test_the_join_is_the_weighted_mean_written_out():
    plan = SegmentPlan(samples=23, segment_samples=8, overlap=0.6)
    segments = np.random.default_rng(0).standard_normal((len(plan.starts), 1, 8, 1)).astype(np.float32)
    window = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    total, weight = np.zeros(50), np.zeros(50)
    for start, segment in zip(plan.starts, segments, strict=True):
        total[start : start + 8] += window * segment[0, :, 0]
        weight[start : start + 8] += window
    join = OverlapAdd(plan, stems=1, channels=1)
    out = np.concatenate([join.add(segment) for segment in segments], axis=1)
    np.testing.assert_allclose(out[0, :, 0], total[:23] / weight[:23], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((0, 5, 0.5), "`samples` and `segment_samples` must be at least 1. Received: samples=0, segment_samples=5"),
        ((5, 0, 0.5), "Received: samples=5, segment_samples=0"),
        ((5, 5, 1.0), "`overlap` must be from 0 to below 1. Received: overlap=1.0"),
        ((5, 5, -0.1), "Received: overlap=-0.1"),
        ((5, 5, float("nan")), "Received: overlap=nan"),
    ],
)
def test_impossible_plans_are_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        SegmentPlan(*arguments)


def test_a_segment_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"must have shape \(1, 4, 2\). Received: shape=\(1, 4, 1\)"):
        OverlapAdd(SegmentPlan(9, 4), stems=1, channels=2).add(np.zeros((1, 4, 1), np.float32))

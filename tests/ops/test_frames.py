"""Frames against NumPy's padding and slicing, and the adjoint property."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kseparation.ops.frames import add_frames, cut_frames, length_of, reflect_pad
from tests.on_backend import compute


def noise(*shape):
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("samples", [1, 2, 5, 13, 40])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (3, 0), (7, 13), (12, 39)])
def test_reflect_pad_is_that_of_numpy(samples, before, after):
    signal = noise(2, samples)
    expected = np.pad(signal, ((0, 0), (before, after)), mode="reflect")
    np.testing.assert_array_equal(compute(lambda x: reflect_pad(x, before, after), signal), expected)


@settings(max_examples=12)
@given(samples=st.integers(1, 30), before=st.integers(0, 70), after=st.integers(0, 70))
def test_reflect_pad_is_that_of_numpy_however_short_the_signal(samples, before, after):
    signal = noise(samples)
    expected = np.pad(signal, (before, after), mode="reflect")
    np.testing.assert_array_equal(compute(lambda x: reflect_pad(x, before, after), signal), expected)


@pytest.mark.parametrize(("frame", "hop", "frames", "samples"), [(8, 2, 5, 16), (8, 8, 3, 24), (7, 3, 4, 5), (5, 9, 3, 40), (6, 4, 1, 100)])
def test_cut_frames_are_slices_of_the_signal_and_zeros_beyond_it(frame, hop, frames, samples):
    signal = noise(2, 3, samples)
    longer = np.pad(signal, ((0, 0), (0, 0), (0, frame + hop * frames)))
    expected = np.stack([longer[..., k * hop : k * hop + frame] for k in range(frames)], axis=-2)
    np.testing.assert_array_equal(compute(lambda x: cut_frames(x, frame, hop, frames), signal), expected)


@settings(max_examples=12)
@given(frame=st.integers(1, 12), hop=st.integers(1, 15), frames=st.integers(1, 6))
def test_add_frames_sums_each_frame_at_its_place(frame, hop, frames):
    framed = noise(2, frames, frame)
    blocks = -(-frame // hop)
    expected = np.zeros((2, (frames + blocks - 1) * hop))
    for k in range(frames):
        expected[:, k * hop : k * hop + frame] += framed[:, k]
    np.testing.assert_allclose(compute(lambda x: add_frames(x, hop), framed), expected, atol=1e-6)


@settings(max_examples=12)
@given(frame=st.integers(1, 12), hop=st.integers(1, 15), frames=st.integers(1, 6))
def test_adding_is_the_adjoint_of_cutting(frame, hop, frames):
    """<A x, y> = <x, A* y> for every x and y."""
    samples = (frames + -(-frame // hop) - 1) * hop
    signal, framed = noise(samples), noise(frames, frame)
    cut = compute(lambda x: cut_frames(x, frame, hop, frames), signal)
    added = compute(lambda x: add_frames(x, hop), framed)
    assert np.vdot(cut, framed) == pytest.approx(np.vdot(signal, added), abs=1e-5)


def test_length_of_is_an_int_where_the_length_is_known():
    assert length_of(ops.zeros((2, 3)), -1) == 3
    assert isinstance(length_of(ops.zeros((2, 3)), 0), int)

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseparation.errors import CheckFailed, UserError
from kseparation.workflows.whole_track import separate_array, separate_blocks


class Equal:
    """Gives each stem the same part of the mixture, so that the stems add up to it."""

    def __init__(self, segment_samples=1000, stems=("vocals", "drums", "other"), channels=2, sample_rate=800):
        self.segment_samples, self.stems, self.channels, self.sample_rate = (
            segment_samples,
            stems,
            channels,
            sample_rate,
        )
        self.shapes, self.calls = set(), 0

    def predict_segments(self, batch):
        self.shapes.add(batch.shape)
        self.calls += 1
        return np.repeat(batch[:, None] / len(self.stems), len(self.stems), axis=1).astype(np.float32)


def noise(samples, channels=2):
    return np.random.default_rng(samples).uniform(-1, 1, (samples, channels)).astype(np.float32)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 3700])
@pytest.mark.parametrize("shifts", [0, 1, 3])
def test_stems_that_add_up_in_each_segment_add_up_in_the_track(samples, overlap, shifts):
    model, mixture = Equal(), noise(samples)
    stems = separate_array(model, mixture, overlap=overlap, shifts=shifts)
    assert stems.shape == (3, samples, 2) and stems.dtype == np.float32
    np.testing.assert_allclose(stems.sum(axis=0), mixture, atol=1e-6)
    assert model.shapes == {(4, 1000, 2)}


@settings(max_examples=60)
@given(
    samples=st.integers(1, 400),
    segment=st.integers(1, 90),
    overlap=st.floats(0, 0.9),
    shifts=st.integers(0, 3),
    batch_size=st.integers(1, 5),
)
def test_any_sizes(samples, segment, overlap, shifts, batch_size):
    model, mixture = Equal(segment, channels=1, sample_rate=40), noise(samples, 1)
    stems = separate_array(model, mixture, overlap, shifts, batch_size)
    np.testing.assert_allclose(stems.sum(axis=0), mixture, atol=2e-6)


def test_shifts_are_the_average_over_seeded_offsets():
    class EdgeBlind(Equal):
        def predict_segments(self, batch):
            out = super().predict_segments(batch)
            out[:, :, :100] = 0
            return out

    mixture = noise(5000)
    results = [separate_array(EdgeBlind(), mixture, 0.1, shifts=4, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 0.01
    offsets = np.random.default_rng(0).integers(0, 401, 4)
    alone = []
    for offset in offsets:
        padded = np.concatenate([np.zeros((offset, 2), np.float32), mixture])
        alone.append(separate_array(EdgeBlind(), padded, 0.1)[:, offset:])
    np.testing.assert_allclose(results[0], np.mean(alone, axis=0), atol=1e-6)


def test_segments_are_counted():
    seen = []
    separate_array(Equal(), noise(5200), overlap=0.5, batch_size=4, on_segment=lambda *count: seen.append(count))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_memory_does_not_grow_with_the_track():
    def peak(seconds):
        model = Equal(segment_samples=8000, sample_rate=8000)
        block = noise(8000)
        tracemalloc.start()
        for _ in separate_blocks(model, lambda start, n: block[:n], seconds * 8000, shifts=2):
            pass
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(4)  # what NumPy allocates once
    assert peak(200) < 1.05 * peak(20)


def test_a_model_that_gives_no_numbers_is_stopped():
    class Broken(Equal):
        def predict_segments(self, batch):
            out = super().predict_segments(batch)
            if self.calls == 2:
                out[1, 2, 5, 0] = np.nan
            return out

    with pytest.raises(CheckFailed, match="no numbers for stem `other`, in the batch from 2.5 s on"):
        separate_array(Broken(), noise(9000))


def test_a_model_of_another_shape_is_stopped():
    model = Equal()
    model.predict_segments = lambda batch: np.zeros((4, 2, 1000, 2), np.float32)
    with pytest.raises(CheckFailed, match=r"must give \(3, 1000, 2\) for each segment. Received: \(2, 1000, 2\)"):
        separate_array(model, noise(10))


@pytest.mark.parametrize("arguments", [{"shifts": -1}, {"batch_size": 0}])
def test_impossible_arguments(arguments):
    with pytest.raises(UserError, match="`shifts` must be at least 0 and `batch_size` at least 1. Received: "):
        separate_array(Equal(), noise(10), **arguments)


def test_a_mixture_of_another_shape():
    with pytest.raises(UserError, match=r"must have shape \(samples, 2\). Received: shape=\(10, 1\)"):
        separate_array(Equal(), noise(10, 1))

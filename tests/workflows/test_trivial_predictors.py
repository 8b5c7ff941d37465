"""The predictors that a model has to beat: against least squares written out, and exact reconstruction."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from kseparation.workflows import trivial_predictors
from kseparation.workflows.trivial_predictors import TRIVIAL_NAMES, apply_masks, fit_trivial_predictors, read_padded


class Song:
    """A song in memory, whose mixture is the sum of its stems."""

    def __init__(self, **stems):
        self.stems = {name: np.float32(audio) for name, audio in stems.items()}
        self.samples = len(next(iter(self.stems.values())))

    def read(self, stem, start, samples):
        return self.stems[stem][start : start + samples]

    def read_mixture(self, start, samples):
        return sum(self.stems.values())[start : start + samples]


def noise(samples, seed, low=None, high=None):
    """White noise, or the band between two fractions of the Nyquist frequency."""
    audio = np.random.default_rng(seed).normal(size=(samples, 2))
    if low is None:
        return audio
    return scipy.signal.sosfiltfilt(scipy.signal.butter(8, [low, high], "bandpass", output="sos"), audio, axis=0)


@settings(deadline=None, max_examples=25)
@given(samples=st.integers(1, 9000), cuts=st.lists(st.integers(1, 8999), max_size=4))
def test_masks_of_ones_give_the_mixture_back_for_any_blocks(samples, cuts):
    audio = noise(samples, samples).astype(np.float32)
    edges = sorted({0, samples, *(cut for cut in cuts if cut < samples)})
    blocks = [
        apply_masks(np.ones((1, 1025)), lambda start, n: audio[start : start + n], first, last - first, samples)
        for first, last in zip(edges[:-1], edges[1:], strict=True)
    ]
    joined = np.concatenate(blocks, axis=1)
    assert joined.shape == (1, samples, 2)
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined[0], audio, atol=3e-6)


def test_the_mask_is_least_squares_over_all_frames():
    song = Song(a=noise(5000, 1), b=noise(5000, 2))
    fitted = fit_trivial_predictors([song], ["a", "b"])
    window = scipy.signal.get_window("hann", 2048)
    padding = ((1536, 2048), (0, 0))
    spectra = {}
    for name, audio in {**song.stems, "m": song.read_mixture(0, 5000)}.items():
        padded = np.pad(np.float64(audio), padding)
        starts = range(0, 1536 + 5000, 512)
        spectra[name] = np.stack([np.fft.rfft(padded[s : s + 2048] * window[:, None], axis=0) for s in starts])
    for index, name in enumerate("ab"):
        expected = [
            np.linalg.lstsq(
                np.concatenate([spectra["m"][:, k].real.ravel(), spectra["m"][:, k].imag.ravel()])[:, None],
                np.concatenate([spectra[name][:, k].real.ravel(), spectra[name][:, k].imag.ravel()]),
            )[0][0]
            for k in range(0, 1025, 64)
        ]
        np.testing.assert_allclose(fitted.masks[index, ::64], np.clip(expected, 0, 1), atol=1e-5)


@pytest.mark.parametrize("frames_at_once", [1, 7, 1000])
def test_the_gain_is_least_squares_over_all_songs_for_any_chunk(monkeypatch, frames_at_once):
    monkeypatch.setattr(trivial_predictors, "_FRAMES_AT_ONCE", frames_at_once)
    songs = [Song(a=noise(5000, 1), b=0.3 * noise(5000, 2)), Song(a=0.1 * noise(777, 3), b=noise(777, 4))]
    fitted = fit_trivial_predictors(songs, ["b", "a"])
    mixture = np.concatenate([song.read_mixture(0, song.samples).ravel() for song in songs])
    for index, stem in enumerate(["b", "a"]):
        truth = np.concatenate([song.stems[stem].ravel() for song in songs])
        assert fitted.gains[index] == pytest.approx(np.linalg.lstsq(mixture[:, None], truth)[0][0], abs=1e-5)
    assert fitted.training_songs == 2


def test_the_mask_separates_stems_of_different_bands_and_the_gain_does_not():
    training = Song(low=noise(40_000, 1, 0.05, 0.3), high=noise(40_000, 2, 0.5, 0.9))
    test = Song(low=noise(20_000, 3, 0.05, 0.3), high=noise(20_000, 4, 0.5, 0.9))
    fitted = fit_trivial_predictors([training], ["low", "high"])
    assert fitted.masks.min() >= 0
    assert fitted.masks.max() <= 1
    truth = np.stack([test.stems["low"], test.stems["high"]])
    error = {
        name: np.sum((truth - estimate) ** 2) / np.sum(truth**2)
        for name, estimate in fitted.estimates(test.read_mixture, 0, 20_000, 20_000)
    }
    assert tuple(error) == fitted.names == TRIVIAL_NAMES
    assert error["zeros"] == pytest.approx(1)
    assert error["constant_mask"] < 0.01 < 0.3 < error["constant_gain"] < error["mixture"]


def test_estimates_of_a_block_are_parts_of_those_of_the_track():
    song = Song(a=noise(6000, 1), b=noise(6000, 2))
    fitted = fit_trivial_predictors([song], ["a", "b"])
    whole = dict(fitted.estimates(song.read_mixture, 0, 6000, 6000))
    for name, block in fitted.estimates(song.read_mixture, 1234, 2345, 6000):
        np.testing.assert_allclose(block, whole[name][:, 1234 : 1234 + 2345], atol=1e-6)


def test_without_training_songs_the_fitted_ones_are_left_out():
    fitted = fit_trivial_predictors([], ["a"])
    assert fitted.names == ("zeros", "mixture")
    assert [name for name, _ in fitted.estimates(lambda start, n: np.ones((n, 2), np.float32), 0, 10, 10)] == [
        "zeros",
        "mixture",
    ]


def test_a_silent_training_song_fits_silence():
    fitted = fit_trivial_predictors([Song(a=np.zeros((3000, 2)))], ["a"])
    assert not fitted.gains.any()
    assert not fitted.masks.any()


@pytest.mark.parametrize(("start", "stop"), [(-5, 3), (2, 6), (8, 15), (9, 10), (-4, 20)])
def test_read_padded(start, stop):
    audio = np.arange(1, 11, dtype=np.float32)[:, None]
    expected = np.pad(audio, ((20, 20), (0, 0)))[20 + start : 20 + stop]
    np.testing.assert_array_equal(read_padded(lambda first, n: audio[first : first + n], start, stop, 10), expected)

"""Predictors without a network, which a trained model has to beat: their scores stand beside those of the model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import scipy.fft

WINDOW_SAMPLES = 2048
HOP_SAMPLES = 512
TRIVIAL_NAMES = ("zeros", "mixture", "constant_gain", "constant_mask")

_FRAMES_AT_ONCE = 256
# Periodic: four of its squares, a hop apart, add up to exactly 1.5 everywhere.
_WINDOW = np.sin(np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES).astype(np.float32) ** 2
_WINDOW_SQUARES = 1.5

Read = Callable[[int, int], np.ndarray]


class MultitrackSong(Protocol):
    """What the predictors need of a `Track`."""

    samples: int

    def read(self, stem: str, start: int, samples: int) -> np.ndarray: ...

    def read_mixture(self, start: int, samples: int) -> np.ndarray: ...


def spectrum(audio: np.ndarray) -> np.ndarray:
    """Short-time spectrum `(frames, channels, bins)` of `(samples, channels)`: a frame each 512 samples, no padding."""
    rows = np.ascontiguousarray(audio.T)
    frames = np.lib.stride_tricks.sliding_window_view(rows, WINDOW_SAMPLES, axis=1)[:, ::HOP_SAMPLES]
    # SciPy's transform of float32 is five times as fast as NumPy's.
    return scipy.fft.rfft(frames * _WINDOW).transpose(1, 0, 2)


def overlap_add(spectrum: np.ndarray) -> np.ndarray:
    """Undoes `spectrum` but for the first and last 1536 samples, which fewer than four frames cover."""
    frames = scipy.fft.irfft(spectrum, WINDOW_SAMPLES) * (_WINDOW / _WINDOW_SQUARES)  # (frames, channels, window)
    hops = WINDOW_SAMPLES // HOP_SAMPLES
    parts = frames.reshape(*frames.shape[:2], hops, HOP_SAMPLES)
    joined = np.zeros((len(frames) + hops - 1, HOP_SAMPLES, frames.shape[1]), np.float32)
    for hop in range(hops):
        joined[hop : hop + len(frames)] += parts[:, :, hop].transpose(0, 2, 1)
    return joined.reshape(-1, frames.shape[1])


def read_padded(read: Read, start: int, stop: int, samples: int) -> np.ndarray:
    """Reads `[start, stop)`, which overlaps the signal of `samples` samples, with zeros where it reaches beyond."""
    first, last = max(start, 0), min(stop, samples)
    return np.pad(read(first, last - first), ((first - start, stop - last), (0, 0)))


@dataclass(frozen=True)
class TrivialPredictors:
    """The four predictors for the stems of one model.

    `zeros` is silence, `mixture` the input itself, `constant_gain` the input times one number per stem,
    `constant_mask` the input through one fixed equaliser per stem. The last two are the best of their kind, by least
    squares, on the training songs.

    Args:
        stems: names of the stems.
        gains: one factor per stem `(stems,)`, or None where there was no training song.
        masks: one factor in 0 to 1 per stem and frequency bin `(stems, bins)`, or None.
        training_songs: number of songs the two were fitted on.
    """

    stems: tuple[str, ...]
    gains: np.ndarray | None = field(default=None, repr=False)
    masks: np.ndarray | None = field(default=None, repr=False)
    training_songs: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The predictors that can be used: the fitted ones only where there were training songs."""
        return TRIVIAL_NAMES[:2] if self.gains is None else TRIVIAL_NAMES

    def estimates(self, read_mixture: Read, start: int, length: int, samples: int) -> Iterator[tuple[str, np.ndarray]]:
        """Predicts one block of a track.

        Args:
            read_mixture: `read(start, samples)` -> `(samples, channels)`.
            start: first sample of the block.
            length: of the block, in samples.
            samples: length of the track.

        Yields:
            the name of a predictor and its stems `(stems, length, channels)`.
        """
        mixture = read_padded(read_mixture, start, start + length, samples)
        shape = (len(self.stems), *mixture.shape)
        yield "zeros", np.zeros(shape, np.float32)
        yield "mixture", np.broadcast_to(mixture, shape)
        if self.gains is not None:
            yield "constant_gain", self.gains[:, None, None].astype(np.float32) * mixture
        if self.masks is not None:
            yield "constant_mask", apply_masks(self.masks, read_mixture, start, length, samples)


def apply_masks(masks: np.ndarray, read: Read, start: int, length: int, samples: int) -> np.ndarray:
    """Filters one block of a track by masks that do not change over time; masks of ones give the block back.

    Args:
        masks: `(stems, bins)`.
        read: `read(start, samples)` -> `(samples, channels)`.
        start: first sample of the block.
        length: of the block, in samples.
        samples: length of the track.

    Returns:
        `(stems, length, channels)` float32. Blocks of any size fit together: the frames lie on one grid for the whole
        track.
    """
    context = WINDOW_SAMPLES - HOP_SAMPLES
    grid_start = start // HOP_SAMPLES * HOP_SAMPLES
    grid_stop = -(-(start + length) // HOP_SAMPLES) * HOP_SAMPLES
    bins = spectrum(read_padded(read, grid_start - context, grid_stop + context, samples))
    skip = context + start - grid_start
    return np.stack([overlap_add(bins * mask.astype(np.float32))[skip : skip + length] for mask in masks])


def fit_trivial_predictors(songs: Iterable[MultitrackSong], stems: Sequence[str]) -> TrivialPredictors:
    """Fits the constant gain and the constant mask of each stem by least squares over all songs together.

    Gain: `sum(s m) / sum(m m)` over samples and channels. Mask: `sum Re(S conj(M)) / sum |M|^2` per bin over frames
    and channels, then clipped to 0 to 1. Songs are read in blocks, so memory does not depend on their length.

    Args:
        songs: the training songs; none leaves the two predictors out.
        stems: names of the stems to predict.
    """
    stems = tuple(stems)
    bins = WINDOW_SAMPLES // 2 + 1
    cross, power = np.zeros(len(stems)), 0.0
    cross_bins, power_bins = np.zeros((len(stems), bins)), np.zeros(bins)
    count = 0
    for song in songs:
        count += 1
        for start, frames in _frame_chunks(song.samples):
            stop = start + (frames - 1) * HOP_SAMPLES + WINDOW_SAMPLES
            # Samples that no other chunk owns, for sums over samples.
            own = slice(WINDOW_SAMPLES - HOP_SAMPLES, WINDOW_SAMPLES + (frames - 1) * HOP_SAMPLES)
            mixture = read_padded(song.read_mixture, start, stop, song.samples)
            mixture_bins = spectrum(mixture)
            power += _inner(mixture[own], mixture[own])
            power_bins += _inner_by_bin(mixture_bins, mixture_bins)
            for index, stem in enumerate(stems):
                audio = read_padded(partial(song.read, stem), start, stop, song.samples)
                cross[index] += _inner(audio[own], mixture[own])
                cross_bins[index] += _inner_by_bin(spectrum(audio), mixture_bins)
    if not count:
        return TrivialPredictors(stems)
    gains = cross / power if power > 0 else np.zeros(len(stems))
    masks = np.divide(cross_bins, power_bins, out=np.zeros_like(cross_bins), where=power_bins > 0)
    return TrivialPredictors(stems, gains, np.clip(masks, 0.0, 1.0), count)


def _frame_chunks(samples: int) -> Iterator[tuple[int, int]]:
    """Yields first sample and number of frames, such that every sample of the song lies in exactly four frames."""
    starts = range(HOP_SAMPLES - WINDOW_SAMPLES, samples, HOP_SAMPLES)
    for index in range(0, len(starts), _FRAMES_AT_ONCE):
        part = starts[index : index + _FRAMES_AT_ONCE]
        yield part[0], len(part)


def _inner(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.vdot(first.astype(np.float64), second.astype(np.float64)))


def _inner_by_bin(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Real inner product over frames and channels, `(frames, channels, bins)` twice -> `(bins,)` float64."""
    products = first.real * second.real + first.imag * second.imag
    return products.sum(axis=(0, 1), dtype=np.float64)

"""A file read at any position as if it had another sample rate and channel count."""

import math
from pathlib import Path

import numpy as np

from kseparation.audio.reading import AudioReader
from kseparation.audio.resampling import resample, resampled_length
from kseparation.errors import UserError

# Context on both sides of a piece, in samples of the lower rate: longer than the filter of soxr, so that pieces equal
# the whole to float32 rounding.
_CONTEXT_SAMPLES = 1024


def convert_channels(audio: np.ndarray, channels: int) -> np.ndarray:
    """Returns `audio` with another channel count: mono is duplicated, and anything is averaged to mono.

    Args:
        audio: float32 `(samples, channels)`.
        channels: wanted count.

    Raises:
        UserError: for other conversions, which have no agreed meaning.

    Example:

    >>> convert_channels(np.ones((3, 1), "float32"), 2).shape
    (3, 2)
    """
    given = audio.shape[-1]
    if given == channels:
        return audio
    if given == 1:
        return np.repeat(audio, channels, axis=-1)
    if channels == 1:
        return audio.mean(axis=-1, keepdims=True, dtype=np.float32)
    raise UserError(f"`channels` cannot be converted. Received: {given}, wanted {channels}. Convert the file first.")


class ResampledReader:
    """Random access to a file at a sample rate of choice; a context manager.

    Pieces are resampled with context around them, at a phase where both rates meet, so that pieces joined equal the
    whole file resampled at once, and memory holds only the piece.

    Args:
        path: audio file.
        sample_rate: wanted rate in Hz. Defaults to that of the file.
        channels: wanted count, by `convert_channels`. Defaults to that of the file.
    """

    def __init__(self, path: str | Path, sample_rate: int | None = None, channels: int | None = None) -> None:
        self._reader = AudioReader(path)
        info = self._reader.info
        self.sample_rate = info.sample_rate if sample_rate is None else sample_rate
        self.channels = info.channels if channels is None else channels
        try:
            self.samples = resampled_length(info.samples, info.sample_rate, self.sample_rate)
            convert_channels(np.zeros((1, info.channels), np.float32), self.channels)
        except UserError as error:
            self._reader.__exit__()
            raise UserError(f"`{path}`: {error}") from None

    def __enter__(self) -> "ResampledReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    def read(self, start: int, samples: int) -> np.ndarray:
        """Returns float32 `(n, channels)` from `start`; n is `samples`, or less where the sound ends."""
        samples = min(samples, max(0, self.samples - start))
        info = self._reader.info
        if info.sample_rate == self.sample_rate:
            return convert_channels(self._reader.read(start, samples), self.channels)
        common = math.gcd(info.sample_rate, self.sample_rate)
        file_period, period = info.sample_rate // common, self.sample_rate // common
        context = _CONTEXT_SAMPLES * max(1, -(-info.sample_rate // self.sample_rate))
        first_period = max(0, start * file_period // period - context) // file_period
        first = first_period * file_period
        last = -(-(start + samples) * file_period // period) + context
        piece = convert_channels(self._reader.read(first, last - first), self.channels)
        skip = start - first_period * period
        out = resample(piece, info.sample_rate, self.sample_rate)[skip : skip + samples]
        return np.pad(out, ((0, samples - len(out)), (0, 0)))

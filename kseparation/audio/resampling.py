"""Change of the sample rate with soxr: whole arrays and streams, always of the exact length."""

import numpy as np
import soxr

from kseparation.errors import UserError


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Returns `samples * to_rate / from_rate`, rounded half up; at least one sample where there is one.

    Example:

    >>> resampled_length(44100, 44100, 16000), resampled_length(1, 96000, 8000)
    (16000, 1)
    """
    if from_rate < 1 or to_rate < 1:
        raise UserError(f"Sample rates must be positive. Received: from_rate={from_rate}, to_rate={to_rate}.")
    length = (2 * samples * to_rate + from_rate) // (2 * from_rate)
    return max(length, 1) if samples > 0 else 0


def resample(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Returns the same sound at another sample rate, without delay.

    Args:
        audio: float32 `(samples, channels)`.
        from_rate: its rate in Hz.
        to_rate: the wanted rate in Hz.

    Returns:
        float32 `(resampled_length, channels)`.

    Example:

    >>> resample(np.zeros((441, 2), "float32"), 44100, 16000).shape
    (160, 2)
    """
    stream = StreamResampler(from_rate, to_rate, audio.shape[1])
    return np.concatenate([stream.process(audio), stream.finish()])


class StreamResampler:
    """Resamples a sound that arrives in blocks; all that comes out, joined, equals `resample` of all that went in.

    Args:
        from_rate: rate of the blocks that go in, in Hz.
        to_rate: rate of the blocks that come out, in Hz.
        channels: channels of each block.

    Example:

    >>> stream = StreamResampler(44100, 16000, channels=1)
    >>> parts = [stream.process(np.zeros((441, 1), "float32")) for _ in range(10)] + [stream.finish()]
    >>> sum(len(part) for part in parts)
    1600
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        resampled_length(1, from_rate, to_rate)
        self.from_rate, self.to_rate, self.channels = from_rate, to_rate, channels
        self.taken = self.given = 0
        same = from_rate == to_rate
        self._stream = (
            None if same else soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="HQ")
        )

    def process(self, block: np.ndarray) -> np.ndarray:
        """Takes float32 `(n, channels)` and returns what is ready, `(m, channels)`; m may be 0."""
        self.taken += len(block)
        block = np.ascontiguousarray(block, dtype=np.float32)
        out = block if self._stream is None or not len(block) else self._stream.resample_chunk(block)
        self.given += len(out)
        return out

    def finish(self, samples: int | None = None) -> np.ndarray:
        """Returns the rest.

        Args:
            samples: total to come out, where it is known from elsewhere. Defaults to the rounded length of the input.
        """
        samples = resampled_length(self.taken, self.from_rate, self.to_rate) if samples is None else samples
        if samples < self.given:
            raise UserError(f"`samples` must not be less than what came out before, {self.given}. Received: {samples}.")
        rest = np.zeros((0, self.channels), np.float32)
        if self._stream is not None and self.taken:
            rest = self._stream.resample_chunk(rest, last=True)
        rest = rest[: max(0, samples - self.given)]
        rest = np.pad(rest, ((0, samples - self.given - len(rest)), (0, 0)))
        self.given += len(rest)
        return rest

"""Signal-to-distortion ratio over a whole track, the convention of the MDX and SDX challenges."""

from collections.abc import Sequence

import numpy as np

from kseparation.metrics.blocks import checked_blocks, inner_products

DELTA = 1e-7


class GlobalSDR:
    """Accumulates the global SDR of each stem over the blocks of one track.

    `10 log10((sum s^2 + 1e-7) / (sum (s - e)^2 + 1e-7))`, both sums over all samples and channels of the track.
    Higher is better: 0 dB is what an output of silence scores, 10 dB means that a tenth of the stem's energy is
    wrong. It is also called uSDR or nSDR. The constant keeps the value finite for silence; a track whose stem is
    silent scores far below zero as soon as the estimate is not.

    Args:
        stems: names of the stems, in the order of the first axis of the blocks.

    Example:

    >>> score = GlobalSDR(["vocals"])
    >>> score.update(np.ones((1, 8, 2)), np.full((1, 8, 2), 0.9))
    >>> {stem: round(value, 3) for stem, value in score.result().items()}
    {'vocals': 20.0}

    References:
        Mitsufuji et al. 2022, Music Demixing Challenge 2021, arXiv:2108.13559.
    """

    def __init__(self, stems: Sequence[str]) -> None:
        self.stems = tuple(stems)
        self.reset()

    def update(self, reference: np.ndarray, estimate: np.ndarray) -> None:
        """Adds one block of a track.

        Args:
            reference: the true stems, `(stems, samples, channels)`.
            estimate: the separated stems, same shape.
        """
        reference, estimate = checked_blocks(reference, estimate, self.stems)
        error = reference - estimate
        self._signal += inner_products(reference, reference)
        self._error += inner_products(error, error)

    def result(self) -> dict[str, float]:
        """Returns the score of each stem in dB."""
        values = 10.0 * np.log10((self._signal + DELTA) / (self._error + DELTA))
        return dict(zip(self.stems, values.tolist(), strict=True))

    def silent_stems(self) -> tuple[str, ...]:
        """Returns the stems that were zero throughout."""
        return tuple(stem for stem, energy in zip(self.stems, self._signal, strict=True) if energy == 0)

    def reset(self) -> None:
        """Forgets all blocks, for the next track."""
        self._signal = np.zeros(len(self.stems))
        self._error = np.zeros(len(self.stems))

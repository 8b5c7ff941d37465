"""Scale-invariant signal-to-distortion ratio over a whole track."""

from collections.abc import Sequence

import numpy as np

from kseparation.metrics.blocks import checked_blocks, inner_products

EPSILON = 1e-10


class SISDR:
    """Accumulates the scale-invariant SDR of each stem over the blocks of one track.

    The error is measured after the reference is scaled to fit the estimate best, so a wrong loudness costs nothing;
    what remains is leakage and artefacts. Convention: `10 log10(|a s|^2 / |a s - e|^2)` with `a = <s, e> / <s, s>`,
    sums over all samples and channels jointly, no mean subtracted. That equals `c / (1 - c)` with the squared cosine
    `c = <s, e>^2 / (<s, s> <e, e>)`; 1e-10 is added to both terms, which bounds the value to +-100 dB and leaves it
    exactly invariant to scale. An estimate that is silent where the reference is not has -100 dB; a silent reference has
    no score, None, because there is nothing to be similar to.

    Args:
        stems: names of the stems, in the order of the first axis of the blocks.

    Example:

    >>> score = SISDR(["vocals"])
    >>> score.update(np.array([[[3.0], [4.0]]]), np.array([[[30.0], [0.0]]]))
    >>> {stem: round(value, 3) for stem, value in score.result().items()}
    {'vocals': -2.499}

    References:
        Le Roux et al. 2019, SDR - half-baked or well done?, arXiv:1811.02508, equations 3 and 4.
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
        self._reference += inner_products(reference, reference)
        self._estimate += inner_products(estimate, estimate)
        self._cross += inner_products(reference, estimate)

    def result(self) -> dict[str, float | None]:
        """Returns the score of each stem in dB, None where the reference is silent."""
        audible = (self._reference > 0) & (self._estimate > 0)
        # One square root each: the product of two small energies would underflow.
        norms = np.sqrt(self._reference) * np.sqrt(self._estimate)
        cosine = np.divide(self._cross, norms, out=np.zeros_like(norms), where=audible)
        squared = np.minimum(np.square(cosine), 1.0)  # rounding can exceed one
        # A sum that is not finite must not pass for silence.
        squared = np.where(np.isfinite(norms), squared, np.nan)
        values = 10.0 * np.log10((squared + EPSILON) / (1.0 - squared + EPSILON))
        scores = [None if silent else value for silent, value in zip(self._reference == 0, values.tolist(), strict=True)]
        return dict(zip(self.stems, scores, strict=True))

    def reset(self) -> None:
        """Forgets all blocks, for the next track."""
        self._reference = np.zeros(len(self.stems))
        self._estimate = np.zeros(len(self.stems))
        self._cross = np.zeros(len(self.stems))

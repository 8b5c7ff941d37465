"""The likelihood of held-out counts, in float64 NumPy."""

import numpy as np
from scipy.special import gammaln, xlogy


def nll_of_counts(counts: np.ndarray, mean: np.ndarray, inverse_dispersion: np.ndarray) -> np.ndarray:
    """Negative logarithm of the probability of counts under a negative binomial distribution of variance `mean + mean^2 / inverse_dispersion`, in nats per entry.

    The textbook formula, which float64 affords; `ops/likelihood.py` has it for models.

    Args:
        counts: from 0 on, `(..., genes)`.
        mean: above 0 where the count is, of a shape that broadcasts.
        inverse_dispersion: above 0, of a shape that broadcasts.

    Returns:
        The broadcast shape.

    Example:

    >>> round(float(nll_of_counts(10, 4.0, 10.0)), 6)
    4.458708
    """
    y, mean, theta = (np.asarray(array, "float64") for array in (counts, mean, inverse_dispersion))
    return (theta + y) * np.log1p(mean / theta) + y * np.log(theta) - xlogy(y, mean) - gammaln(y + theta) + gammaln(theta) + gammaln(y + 1)


class CountLikelihood:
    """Accumulates the likelihood of held-out cells over batches.

    Two conventions, both told: the mean over cells and genes, and the sum over genes averaged over cells, which is that of scvi-tools and grows with the number of genes.

    Example:

    >>> score = CountLikelihood()
    >>> score.update(np.array([[3, 0]]), np.array([[2.0, 1.0]]), 1.0)
    >>> {name: round(value, 4) for name, value in score.result().items()}
    {'nll_per_entry': 1.5041, 'nll_per_cell': 3.0082}
    """

    def __init__(self) -> None:
        self._total, self._cells, self._entries = 0.0, 0, 0

    def update(self, counts: np.ndarray, mean: np.ndarray, inverse_dispersion: np.ndarray) -> None:
        """Adds cells: counts and their means `(cells, genes)`, and inverse dispersions of a shape that broadcasts with them."""
        counts = np.asarray(counts)
        nll = nll_of_counts(counts, mean, inverse_dispersion)
        if counts.ndim != 2 or nll.shape != counts.shape:
            raise ValueError(f"`counts` and `mean` must be (cells, genes) both. Received: shapes {counts.shape} and {np.shape(mean)}")
        self._total += float(nll.sum())
        self._cells += counts.shape[0]
        self._entries += counts.size

    def result(self) -> dict[str, float]:
        """Returns `nll_per_entry` and `nll_per_cell`, NaN before the first cell."""
        return {"nll_per_entry": self._total / self._entries, "nll_per_cell": self._total / self._cells} if self._entries else {"nll_per_entry": np.nan, "nll_per_cell": np.nan}

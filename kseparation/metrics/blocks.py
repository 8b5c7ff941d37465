"""What the whole-track accumulators share: the check of a pair of blocks, and sums in float64."""

import numpy as np


def checked_blocks(
    reference: np.ndarray, estimate: np.ndarray, stems: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns both blocks in float64, after a look at their shapes.

    Args:
        reference: the true stems, `(stems, samples, channels)`.
        estimate: the separated stems, same shape.
        stems: names of the stems, in the order of the first axis.

    Raises:
        ValueError: the shapes differ, or do not fit the number of stems.
    """
    reference, estimate = np.asarray(reference), np.asarray(estimate)
    if reference.shape != estimate.shape or reference.ndim != 3 or reference.shape[0] != len(stems):
        raise ValueError(
            f"`reference` and `estimate` must both have the shape (stems, samples, channels) with {len(stems)} stems. "
            f"Received: reference.shape={reference.shape}, estimate.shape={estimate.shape}"
        )
    return reference.astype(np.float64), estimate.astype(np.float64)


def inner_products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sums the product of two blocks over samples and channels: `(stems, samples, channels)` twice -> `(stems,)`."""
    return np.einsum("snc,snc->s", first, second)

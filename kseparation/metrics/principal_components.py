"""Cells as points: the axes along which logarithms of their counts vary most."""

import numpy as np

# Counts of a cell are scaled to this sum before the logarithm.
SCALE = 1e4


def principal_components(counts: np.ndarray, library_sizes: np.ndarray, components: int, fitted: np.ndarray | None = None) -> np.ndarray:
    """Coordinates of cells along the first principal components of log1p(counts / library size x 10000).

    The sign of each axis is that by which its largest loading is above 0.

    Args:
        counts: `(cells, genes)`.
        library_sizes: `(cells,)`.
        components: how many; there are no more than genes.
        fitted: numbers of the cells that the axes are found from; None takes all.

    Returns:
        float64 `(cells, components)`.
    """
    logs = np.log1p(np.asarray(counts, "float64") / np.asarray(library_sizes, "float64")[:, None] * SCALE)
    known = logs if fitted is None else logs[fitted]
    centre = known.mean(axis=0)
    _, axes = np.linalg.eigh((known - centre).T @ (known - centre))
    axes = axes[:, ::-1][:, :components]  # (genes, components)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return (logs - centre) @ axes

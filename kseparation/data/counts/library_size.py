"""The number of molecules that were read in each cell."""

import numpy as np
import scipy.sparse

from kseparation.errors import UserError


def library_sizes(counts: scipy.sparse.csr_array, cells: np.ndarray, name: str, column: str | None = None, given: np.ndarray | None = None) -> np.ndarray:
    """Returns what was given, checked, or else the sum of the counts of each cell.

    Args:
        counts: `(cells, genes)`.
        cells: names of the cells.
        name: of the file, for messages.
        column: name of the column that the sizes came from.
        given: its values, `(cells,)`, or None.

    Returns:
        float64 `(cells,)`, all above 0.

    Raises:
        UserError: a given one is no number, not finite, or not above 0.
    """
    if given is None:
        return np.asarray(counts.sum(axis=1), "float64")
    if np.asarray(given).dtype.kind not in "iuf":
        raise UserError(f"`{name}`: column `{column}`, taken as size factors, holds no numbers. Choose another as `data.size_factors`, or leave it out.")
    sizes = np.asarray(given, "float64")
    wrong = ~(np.isfinite(sizes) & (sizes > 0))
    if wrong.any():
        cell = int(np.argmax(wrong))
        raise UserError(
            f"`{name}`: the size factor of cell `{cells[cell]}` (row {cell}, column `{column}`) must be above 0. Received: {sizes[cell]:g}. "
            "Choose another column as `data.size_factors`, or leave it out for the sum of each cell."
        )
    return sizes

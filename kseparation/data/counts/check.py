"""Whether numbers are counts of molecules, and if not, what they are instead."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from kseparation.errors import UserError

# float32 holds every whole number up to here; no gene of a cell is read more often.
LARGEST_COUNT = 2**24
# Cells that are looked at to tell what was done to fractional values.
LOOKED_AT = 200
# A share of the values of a cell that are whole multiples of its smallest, within a hundredth, by which it is recognised as scaled counts.
MULTIPLES = 0.9
FRACTIONAL = ("holds fractional values", "Estimated or corrected counts look so; round them yourself if that is meant.")
COUNTS_WANTED = "Required: whole numbers from 0 on, as they were read."


def as_counts(matrix, name: str, cells: Sequence[str], genes: Sequence[str], cure: str = "", drop_empty: bool = False) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Returns a matrix as counts, after a look at every value.

    Args:
        matrix: `(cells, genes)`, sparse or dense, of any number type.
        name: what it is called in messages.
        cells: names of the cells.
        genes: names of the genes.
        cure: where counts may be had instead, for the end of a message.
        drop_empty: leave cells without any count out, instead of refusing them.

    Returns:
        int32 counts sparse by rows, without the dropped cells, and the numbers of the rows kept.

    Raises:
        UserError: a value is not finite, negative, fractional or too large, or a cell is empty. The message names cell and gene, and of fractional values tells whether they
            are log-normalised or normalised counts.
    """
    matrix = scipy.sparse.csr_array(matrix)
    if matrix.shape[0] == 0 or matrix.shape[1] == 0:
        raise UserError(f"`{name}` is empty. Received: {matrix.shape[0]} cells, {matrix.shape[1]} genes. Required: at least one of each.")
    matrix.sum_duplicates()
    values = matrix.data
    if values.dtype.kind not in "biuf":
        raise UserError(f"`{name}` holds no numbers. Received: {values.dtype}. {COUNTS_WANTED}")

    def refuse(wrong, what, why=""):
        first = int(np.argmax(wrong))
        row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
        column = int(matrix.indices[first])
        sentences = (
            f"`{name}` {what}: {values[first]:g} in cell `{cells[row]}` (row {row}), gene `{genes[column]}`; {int(wrong.sum())} of {len(values)} values are so.",
            why, COUNTS_WANTED, cure,
        )  # fmt: skip
        raise UserError(" ".join(sentence for sentence in sentences if sentence))

    if values.dtype.kind == "f":
        if (wrong := ~np.isfinite(values)).any():
            refuse(wrong, "holds values that are not finite")
        if (wrong := values < 0).any():
            refuse(wrong, "holds negative values", "Scaled (z-scored) or batch-corrected values look so.")
        if (wrong := values != np.floor(values)).any():
            # A few fractions among whole numbers are no transformation of all.
            refuse(wrong, *(_kind_of_fractions(matrix) if wrong.mean() > 0.5 else FRACTIONAL))
    elif (wrong := values < 0).any():
        refuse(wrong, "holds negative values")
    if (wrong := values > LARGEST_COUNT).any():
        refuse(wrong, f"holds values above {LARGEST_COUNT}, more than any gene of a cell is read")
    counts = matrix.astype("int32")
    counts.eliminate_zeros()
    totals = np.diff(counts.indptr)
    empty = totals == 0
    if empty.any() and not drop_empty or empty.all():
        row = int(np.argmax(empty))
        raise UserError(
            f"`{name}`: cell `{cells[row]}` (row {row}) is empty, without a single count; {int(empty.sum())} of {len(empty)} cells are so. "
            "An empty cell has no library size. Take it out, or set `data.drop_empty: true`."
        )
    kept = np.flatnonzero(~empty)
    return (counts[kept] if empty.any() else counts), kept


def _kind_of_fractions(matrix):
    """What fractional values are, and how that was seen."""
    rows = [matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]].astype("float64") for row in range(min(matrix.shape[0], LOOKED_AT))]
    rows = [row[row > 0] for row in rows]
    rows = [row for row in rows if len(row) > 1]
    # Undone, the values of a cell are multiples of what one molecule became: its smallest value, nearly always.
    for what, undo, how in (
        ("holds log-normalised values instead of counts", np.expm1, "exp(value) - 1"),
        ("holds log-normalised values (base 2) instead of counts", lambda value: np.exp2(value) - 1, "2^value - 1"),
        ("holds normalised values instead of counts", lambda value: value, "its values"),
    ):
        with np.errstate(over="ignore", invalid="ignore"):
            if rows and np.median([_multiples(undo(row)) for row in rows]) > MULTIPLES:
                return what, f"In each cell {how} are whole multiples of one number, which one count became."
    return FRACTIONAL


def _multiples(values):
    """Share of values that are whole multiples of the smallest, of those above it."""
    ratios = values / values.min()
    larger = ratios[ratios > 1.01]
    # A cell whose values are all the same tells nothing; ratios that are far from 1 are near some whole number by chance.
    tellable = larger[larger < 20]
    if len(tellable) == 0:
        return 0.0
    return np.mean(np.abs(tellable - np.round(tellable)) < 0.01)

"""Counts of cells and genes, sparse until they are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse

from kseparation.errors import UserError, did_you_mean


@dataclass(frozen=True)
class CountTable:
    """How often each gene was read in each cell, and what is known of the cells.

    Args:
        counts: whole numbers from 0 on, `(cells, genes)`, sparse by rows.
        genes: names, `(genes,)`.
        cells: names, `(cells,)`.
        library_sizes: molecules read in each cell, above 0, `(cells,)`; of all its genes where that is known, which is more than the sum over the genes of the table.
        columns: what else is known of each cell by name, each `(cells,)`, text or numbers.
        name: of the file or data set, for messages.

    Example:

    >>> table = CountTable(scipy.sparse.csr_array(np.eye(2, dtype="int32")), np.array(["g", "h"]), np.array(["a", "b"]), np.ones(2), {"site": np.array(["x", "y"])})
    >>> table.dense([1])
    array([[0., 1.]], dtype=float32)
    """

    counts: scipy.sparse.csr_array
    genes: np.ndarray
    cells: np.ndarray
    library_sizes: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    name: str = "counts"

    def __post_init__(self) -> None:
        cells, genes = self.counts.shape
        lengths = {"genes": (len(self.genes), genes), "cells": (len(self.cells), cells), "library_sizes": (len(self.library_sizes), cells)}
        lengths |= {f"columns[{key}]": (len(column), cells) for key, column in self.columns.items()}
        for argument, (received, required) in lengths.items():
            if received != required:
                raise ValueError(f"`{argument}` needs one entry for each of {required}. Received: {received}")

    def __len__(self) -> int:
        return self.counts.shape[0]

    def dense(self, cells: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the counts of some cells, float32 `(len(cells), genes)`."""
        return self.counts[np.asarray(cells)].astype("float32").toarray()

    def take(self, cells: Sequence[int] | np.ndarray) -> "CountTable":
        """Returns the table of some cells, in the order given."""
        cells = np.asarray(cells)
        columns = {key: column[cells] for key, column in self.columns.items()}
        return CountTable(self.counts[cells], self.genes, self.cells[cells], self.library_sizes[cells], columns, self.name)

    def column(self, name: str) -> np.ndarray:
        """Returns one column, `(cells,)`.

        Raises:
            UserError: there is none of this name.
        """
        if name not in self.columns:
            raise UserError(f"`{self.name}` has no column `{name}` of its cells. {did_you_mean(name, self.columns)}")
        return self.columns[name]

    def groups(self, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Tells the cells apart by one column, or by several together.

        Args:
            names: of the columns; none puts all cells into one group.

        Returns:
            The number of the group of each cell, int32 `(cells,)`, and the names of the groups in the order of these numbers: the sorted values, of several columns joined by
            ` / `.

        Raises:
            UserError: a column is missing, or has no value for some cell.
        """
        if not names:
            return np.zeros(len(self), "int32"), ("all",)
        columns = []
        for name in names:
            column = np.asarray(self.column(name))
            missing = np.isnan(column) if column.dtype.kind == "f" else column.astype(str) == ""
            if missing.any():
                cell = int(np.argmax(missing))
                raise UserError(
                    f"`{self.name}`: column `{name}` has no value for {int(missing.sum())} of {len(self)} cells, the first is `{self.cells[cell]}` (row {cell}). "
                    "Fill them in, or take these cells out."
                )
            columns.append(column.astype(str))
        joined = columns[0]
        for column in columns[1:]:
            joined = np.char.add(np.char.add(joined, " / "), column)
        categories, numbers = np.unique(joined, return_inverse=True)
        return numbers.astype("int32"), tuple(categories.tolist())

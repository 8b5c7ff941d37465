"""Tables of counts as data sets: parted into training, validation and test, with the columns that tell conditions and types."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseparation.data.counts.files import read_counts
from kseparation.data.counts.simulator import SimulatorSettings, simulate
from kseparation.data.counts.table import CountTable
from kseparation.errors import UserError


class CountDataset:
    """The cells of a table in three parts.

    The cells are put in a random order that depends on `split_seed` alone; the last `test_split` of them are the test, and of those before the last `validation_split` the
    validation. With the defaults the test of `pbmc68k` is that of the published baselines.

    Args:
        table: all cells.
        conditions: names of the columns that tell the conditions apart, none for one condition.
        label: name of the column with the cell types, or None.
        validation_split: share of the cells outside the test that is put aside to validate, in [0, 1).
        test_split: share of all cells that is kept for the test, in [0, 1).
        split_seed: of the order.

    Attributes:
        all_cells: the table.
        parts: numbers of the cells of `train`, `validation` and `test`.
        conditions_of_all: number of the condition of each cell, int32 `(cells,)`.
        labels_of_all: number of the type of each cell, int32 `(cells,)`, or None where no label was named.
        condition_names: of the conditions, in the order of their numbers.
        label_names: of the cell types, in the order of their numbers; empty without `label`.

    Raises:
        UserError: a column is missing or has no value for some cell, a part would be empty, or a condition has no cell to train on.
    """

    def __init__(
        self, table: CountTable, conditions: Sequence[str] = (), label: str | None = None, validation_split: float = 0.1, test_split: float = 0.2, split_seed: int = 0
    ):
        for name, share in (("validation_split", validation_split), ("test_split", test_split)):
            if not 0 <= share < 1:
                raise UserError(f"`data.{name}` must be at least 0 and below 1. Received: {share}")
        self.all_cells = table
        self.conditions_of_all, self.condition_names = table.groups(conditions)
        self.labels_of_all, self.label_names = table.groups([label]) if label is not None else (None, ())
        # The legacy generator, for its stream never changes, and the published baselines were split by it.
        order = np.random.RandomState(split_seed).permutation(len(table))
        fitted = round(len(table) * (1 - test_split))
        training = fitted - round(fitted * validation_split)
        self.parts = {"train": order[:training], "validation": order[training:fitted], "test": order[fitted:]}
        self._shares = {"validation": validation_split, "test": test_split}
        if training < 1:
            raise UserError(f"`data.validation_split` and `data.test_split` leave no cell to train on. Received: {validation_split} and {test_split}, of {len(table)} cells.")
        absent = set(range(len(self.condition_names))) - set(self.conditions_of_all[self.parts["train"]].tolist())
        if absent:
            name = self.condition_names[min(absent)]
            size = int(np.sum(self.conditions_of_all == min(absent)))
            raise UserError(
                f"`data.conditions`: `{name}` has {size} of {len(table)} cells, and none of them to train on. Join it with another condition, take its cells out, "
                "or change `data.split_seed`."
            )

    def cells(self, split: str) -> np.ndarray:
        """Returns the numbers of the cells of `train`, `validation` or `test`.

        Raises:
            UserError: there are none.
        """
        cells = self.parts[split]
        if len(cells) == 0:
            raise UserError(f"There are no cells for `{split}`. Required: a `data.{split}_split` above 0 that leaves at least one. Received: {self._shares[split]}, of {len(self.all_cells)} cells.")
        return cells

    def table(self, split: str) -> CountTable:
        """Returns the table of `train`, `validation` or `test`."""
        return self.all_cells.take(self.cells(split))

    def conditions(self, split: str) -> np.ndarray:
        """Returns the number of the condition of each cell of a part, int32 `(cells,)`."""
        return self.conditions_of_all[self.cells(split)]

    def labels(self, split: str) -> np.ndarray | None:
        """Returns the number of the type of each cell of a part, int32 `(cells,)`, or None where no label was named."""
        return None if self.labels_of_all is None else self.labels_of_all[self.cells(split)]


class CountFile(CountDataset):
    """A table of your own: `.h5ad`, `.npz`, `.csv` or `.tsv`.

    Args:
        root: the file.
        layer: of an `.h5ad`, the layer with the counts, or `raw`; None is X.
        size_factors: name of the column with the library sizes; None sums over the genes of the table.
        conditions: as in `CountDataset`.
        label: as in `CountDataset`.
        annotations: CSV with columns of the cells, for files that have none.
        genes_in_rows: whether a line of the CSV is a gene.
        drop_empty: leave cells without counts out instead of refusing them.
        validation_split: as in `CountDataset`.
        test_split: as in `CountDataset`.
        split_seed: as in `CountDataset`.
    """

    def __init__(
        self,
        root: str,
        layer: str | None = None,
        size_factors: str | None = None,
        conditions: tuple[str, ...] = (),
        label: str | None = None,
        annotations: str | None = None,
        genes_in_rows: bool = False,
        drop_empty: bool = False,
        validation_split: float = 0.1,
        test_split: float = 0.2,
        split_seed: int = 0,
    ):
        columns = tuple(dict.fromkeys((*conditions, *([label] if label is not None else []))))
        table = read_counts(root, layer, columns, size_factors, annotations, genes_in_rows, drop_empty)
        super().__init__(table, conditions, label, validation_split, test_split, split_seed)


class PBMC68k(CountDataset):
    """700 blood cells and 765 genes out of 10x Genomics' public PBMC 68k, which come with this package.

    The counts were recovered from the processed table of scanpy (`data/counts/NOTICE.md`). Library sizes are those over all genes, 2141 to 9497, of which the 765 genes have 342
    to 1654. Columns: `bulk_labels` (10 types), `phase` of the cell cycle (3), `louvain` (11 clusters).

    Args:
        conditions: as in `CountDataset`.
        label: as in `CountDataset`.
        validation_split: as in `CountDataset`.
        test_split: as in `CountDataset`.
        split_seed: as in `CountDataset`.

    References: Zheng et al. 2017, Massively parallel digital transcriptional profiling of single cells (Nature Communications 8).
    """

    def __init__(self, conditions: tuple[str, ...] = (), label: str | None = "bulk_labels", validation_split: float = 0.1, test_split: float = 0.2, split_seed: int = 0):
        super().__init__(pbmc68k_table(), conditions, label, validation_split, test_split, split_seed)


class SimulatedCounts(CountDataset):
    """A table that is made on the spot, of cells whose type and study are known; see `simulator.py`. Columns: `cell_type`, `study`.

    Args:
        cells: number of cells.
        genes: number of genes.
        types: number of cell types.
        studies: number of studies.
        median_depth: median of the expected library size, in counts.
        simulation_seed: same seed, same table.
        conditions: as in `CountDataset`.
        label: as in `CountDataset`.
        validation_split: as in `CountDataset`.
        test_split: as in `CountDataset`.
        split_seed: as in `CountDataset`.

    Attributes:
        simulation: the table and what it was drawn from.
    """

    def __init__(
        self,
        cells: int = 12000,
        genes: int = 300,
        types: int = 20,
        studies: int = 3,
        median_depth: float = 2000.0,
        simulation_seed: int = 0,
        conditions: tuple[str, ...] = (),
        label: str | None = "cell_type",
        validation_split: float = 0.1,
        test_split: float = 0.2,
        split_seed: int = 0,
    ):
        self.simulation = simulate(SimulatorSettings(cells, genes, types, studies, median_depth, seed=simulation_seed))
        super().__init__(self.simulation.table, conditions, label, validation_split, test_split, split_seed)


def pbmc68k_table() -> CountTable:
    """Returns all 700 cells of the built-in table, with the columns `bulk_labels`, `phase`, `louvain` and `n_counts`."""
    columns = ("bulk_labels", "phase", "louvain", "n_counts")
    table = read_counts(Path(__file__).with_name("pbmc68k.npz"), columns=columns, size_factors="n_counts")
    return dataclasses.replace(table, name="pbmc68k")

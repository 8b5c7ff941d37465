"""Batches of cells: those of a training as a pure function of (run seed, epoch, index), and all cells in their order."""

import functools
from collections.abc import Sequence

import numpy as np

from kseparation.data.counts.table import CountTable


class _Cells:
    """The cells of a table as arrays for a model."""

    def __init__(self, table: CountTable, conditions: Sequence[int] | np.ndarray | None = None, labels: Sequence[int] | np.ndarray | None = None):
        self.table = table
        self.conditions = np.zeros(len(table), "int32") if conditions is None else np.asarray(conditions, "int32")
        self.labels = None if labels is None else np.asarray(labels, "int32")
        for argument, values in (("conditions", self.conditions), ("labels", self.labels)):
            if values is not None and len(values) != len(table):
                raise ValueError(f"`{argument}` needs one number for each of {len(table)} cells. Received: {len(values)}")

    def arrays(self, cells: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns what a model is given of some cells and what it is to find.

        Returns:
            inputs: `counts` float32 `(batch, genes)`, `library_sizes` float32 `(batch, 1)`, `conditions` int32 `(batch,)`, and `labels` int32 `(batch,)` where there are any.
            targets: the counts again.
        """
        counts = self.table.dense(cells)
        inputs = {"counts": counts, "library_sizes": self.table.library_sizes[cells, None].astype("float32"), "conditions": self.conditions[cells]}
        return inputs | ({} if self.labels is None else {"labels": self.labels[cells]}), counts


class CountBatches(_Cells):
    """Draws the cells of a table for training: each once, in random order, then each once again in another.

    Batch `index` of `epoch` depends on nothing but the seed and these two numbers: not on what was drawn before, nor on the number of workers. All batches have the same
    size: where it does not divide the number of cells, a batch takes its last cells from the next round through the table. An epoch may be shorter or longer than a round;
    each begins with a new one.

    Args:
        table: the training cells.
        batch_size: cells in a batch.
        seed: of the run.
        conditions: number of the condition of each cell, `(cells,)`; None gives all the number 0.
        labels: number of the type of each cell, `(cells,)`, or None.
    """

    def __init__(self, table: CountTable, batch_size: int, seed: int = 0, conditions=None, labels=None):
        super().__init__(table, conditions, labels)
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        # A round is drawn as a whole; several threads ask for batches of the same one.
        self._round = functools.lru_cache(maxsize=8)(self._draw_round)

    def _draw_round(self, epoch, number):
        return _generator([self.seed, epoch, number]).permutation(len(self.table))

    def plan(self, epoch: int, index: int, draw: int = 0) -> np.ndarray:
        """Returns the numbers of the cells of batch `index` of `epoch`, `(batch,)`. `draw` counts how often it was drawn anew: then it is any cells, none twice as long as there are enough."""
        if draw:
            generator = _generator([self.seed, epoch, index, draw])
            return generator.choice(len(self.table), self.batch_size, replace=self.batch_size > len(self.table))
        places = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        rounds, within = np.divmod(places, len(self.table))
        return np.concatenate([self._round(epoch, int(number))[within[rounds == number]] for number in np.unique(rounds)])

    def batch(self, epoch: int, index: int, draw: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and targets of a batch, see `arrays`."""
        return self.arrays(self.plan(epoch, index, draw))


class CountsInOrder(_Cells):
    """All cells of a table in their order, each once, as a sequence of batches of which the last may be shorter.

    Args:
        table: the cells.
        batch_size: cells in a batch.
        conditions: as in `CountBatches`.
        labels: as in `CountBatches`.
    """

    def __init__(self, table: CountTable, batch_size: int, conditions=None, labels=None):
        super().__init__(table, conditions, labels)
        self.batch_size = min(batch_size, len(table))

    def __len__(self) -> int:
        return -(-len(self.table) // self.batch_size)

    def plan(self, index: int) -> list[dict[str, str | int]]:
        """Returns what a batch is made of: `cell` and `row` of each of its cells."""
        return [{"cell": str(self.table.cells[cell]), "row": int(cell)} for cell in self._rows(index)]

    def _rows(self, index):
        return np.arange(index * self.batch_size, min((index + 1) * self.batch_size, len(self.table)))

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and targets of a batch, see `arrays`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.arrays(self._rows(index))


def _generator(key):
    # Counter-based: any draw is reached without making those before it. The length goes in front, for trailing zeros of a seed would be lost: (1, 2) and (1, 2, 0) are one.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([len(key), *key])))

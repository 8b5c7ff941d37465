"""Training an autoencoder of counts on a table of cells."""

import functools
import hashlib
import os

import numpy as np

from kseparation.data.counts import COUNT_DATASETS, CountBatches, CountsInOrder, stratified_cells
from kseparation.errors import UserError
from kseparation.training.codebook_alarms import CodebookAlarms
from kseparation.training.feeding import spec_of
from kseparation.workflows.tasks.construction import construct_dataset
from kseparation.workflows.tasks.task import Task

# Cells of which the first codebook is made that are in memory at a time.
START_CELLS = 2048


class CountsTask(Task):
    """Cells of a table, each with the counts of its genes."""

    name = "counts"
    datasets = COUNT_DATASETS
    set_by_data = ("root", "validation_split")
    set_by_run = ("genes", "conditions", "cell_types")
    batch_names = ("cells", "counts")

    def require_possible(self):
        super().require_possible()
        genes, batch = len(self.dataset.all_cells.genes), self.config.training.batch_size
        needed, available = 8 * genes * batch, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > available:
            raise UserError(f"`training.batch_size`: {batch} cells of {genes} genes take {needed / 1e9:.3g} GB, and this machine has {available / 1e9:.3g} GB of memory. Use a smaller batch.")

    @functools.cached_property
    def dataset(self):
        """The cells in their parts."""
        return construct_dataset(self)

    def model_arguments(self):
        data = self.dataset
        return {"genes": tuple(map(str, data.all_cells.genes)), "conditions": tuple(data.condition_names), "cell_types": tuple(data.label_names)}

    def open(self):
        self.dataset.cells("validation")

    def _arguments(self, split):
        return {"conditions": self.dataset.conditions(split), "labels": self.dataset.labels(split)}

    @functools.cached_property
    def batches(self):
        return CountBatches(self.dataset.table("train"), self.config.training.batch_size, self.config.seed, **self._arguments("train"))

    @functools.cached_property
    def validation(self):
        return CountsInOrder(self.dataset.table("validation"), self.config.training.batch_size, **self._arguments("validation"))

    def batch_spec(self):
        return spec_of(self.batches.arrays(np.arange(1)))

    def require_fit(self, model):
        cells = len(self.dataset.cells("train"))
        wanted = model.start_cells(cells)
        place = self.config.model.place
        if wanted > cells:
            raise UserError(f"{place.below('codebook_init')}: `num_samples` asks for more cells than there are to train on. Received: {wanted}, for {cells} cells. Lower it.")
        if wanted < model.codebook_size:
            raise UserError(f"{place.below('codebook_size')} must not exceed the number of cells that the first codebook is made of. Received: {model.codebook_size} codes, {wanted} cells. Take fewer codes.")

    def start_examples(self, model):
        conditions, names = self.dataset.conditions("train"), self.dataset.condition_names
        if not model.codebook_init.stratify:
            conditions, names = np.zeros_like(conditions), names[:1]
        cells = stratified_cells(conditions, names, model.start_cells(len(conditions)), self.config.seed, "data.conditions")
        return (self.batches.arrays(cells[first : first + START_CELLS]) for first in range(0, len(cells), START_CELLS))

    def callbacks(self, alarm):
        return [CodebookAlarms(alarm)]

    def fingerprint(self, split):
        table, digest = self.dataset.table(split), hashlib.sha256()
        for array in (table.counts.data, table.counts.indices, table.counts.indptr, table.library_sizes):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update("\n".join([*map(str, table.genes), *map(str, table.cells)]).encode())
        return digest.hexdigest()

    def described(self, plan):
        table = self.batches.table
        return [[{"cell": str(table.cells[cell]), "row": int(cell)}] for cell in plan]

"""Tables of counts: cells by genes. To add a data set: a class like `CountFile` in `datasets.py` or a file of its own, and a line below."""

from kseparation.data.counts.batches import CountBatches, CountsInOrder
from kseparation.data.counts.datasets import CountDataset, CountFile, PBMC68k, SimulatedCounts
from kseparation.data.counts.files import read_counts
from kseparation.data.counts.h5ad import read_h5ad, write_h5ad, write_obs_columns
from kseparation.data.counts.stratified import stratified_cells
from kseparation.data.counts.table import CountTable

COUNT_DATASETS = {
    "count_file": CountFile,
    "pbmc68k": PBMC68k,
    "simulated_counts": SimulatedCounts,
}

__all__ = [
    "COUNT_DATASETS", "CountBatches", "CountDataset", "CountFile", "CountTable", "CountsInOrder", "PBMC68k", "SimulatedCounts",
    "read_counts", "read_h5ad", "stratified_cells", "write_h5ad", "write_obs_columns",
]  # fmt: skip

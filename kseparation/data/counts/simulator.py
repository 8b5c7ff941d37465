"""Made-up counts of cells whose types and studies are known, fully specified, for tests and for tables larger than the one that is shipped.

The recipe, for another who wants to write it again. All random numbers come from one `numpy.random.Generator(numpy.random.Philox(numpy.random.SeedSequence(seed)))`, drawn as
whole arrays in exactly this order; T types, S studies, G genes, C cells.

1. `base = normal(0, 1.5, G)`: log abundance of each gene.
2. `marked = uniform(0, 1, (T, G)) < 0.15`, `change = normal(0, 1.5, (T, G))`: the log fold change of a type is `change` in its marked genes and 0 elsewhere.
3. `shift = normal(0, study_effect, (S, G))`: log fold change of a study, the same for all its cells.
4. `theta = exp(normal(log 2, 0.5, G))`: inverse dispersion of each gene.
5. `mixture = exp(normal(0, 0.5, (S, T)))`: weight of type t, counted from 1, in study s is `mixture[s, t] / t^zipf`, scaled to a sum of 1 over the types.
6. `study = floor(S uniform(0, 1, C))`; then `u = uniform(0, 1, C)`, and the type of a cell is the number of cumulated weights of its study that are at most u, and at most T - 1.
7. `depth = median_depth exp(normal(0, depth_spread, C))`: expected library size of each cell.
8. In blocks of 1000 cells in their order: `mean = depth softmax(base + type's change + study's shift)`, `rate = gamma(shape=theta, scale=mean / theta)`, then `counts = poisson(rate)`.
9. A cell without any count gets one of the gene with the largest mean.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from kseparation.data.counts.table import CountTable

BASE_SPREAD = 1.5
MARKED_SHARE = 0.15
CHANGE_SPREAD = 1.5
THETA_MEDIAN, THETA_SPREAD = 2.0, 0.5
MIXTURE_SPREAD = 0.5
BLOCK_CELLS = 1000


@dataclass(frozen=True)
class SimulatorSettings:
    """What a simulated table is made with.

    Args:
        cells: number of cells.
        genes: number of genes.
        types: number of cell types.
        studies: number of studies.
        median_depth: median of the expected library size, in counts.
        depth_spread: standard deviation of its logarithm.
        zipf: exponent of the weights of the types: type t has a weight of about `t^-zipf`.
        study_effect: standard deviation of the log fold changes of a study.
        seed: same seed, same table, with one version of NumPy.
    """

    cells: int = 12000
    genes: int = 300
    types: int = 20
    studies: int = 3
    median_depth: float = 2000.0
    depth_spread: float = 0.5
    zipf: float = 1.0
    study_effect: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("cells", 1), ("genes", 2), ("types", 1), ("studies", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {name}={getattr(self, name)}")
        if not 0 < self.median_depth <= 1e6:
            raise ValueError(f"`median_depth` must be above 0 and at most 1e6. Received: median_depth={self.median_depth}")
        for name in ("depth_spread", "zipf", "study_effect"):
            if not 0 <= getattr(self, name) <= 3:
                raise ValueError(f"`{name}` must lie between 0 and 3. Received: {name}={getattr(self, name)}")


@dataclass(frozen=True)
class Simulation:
    """A table with columns `cell_type` and `study`, and what it was drawn from.

    Args:
        table: the counts; library sizes are the sums over the genes.
        proportions: expected share of each gene, `(types, studies, genes)`.
        inverse_dispersion: of each gene, `(genes,)`.
        depth: expected library size of each cell, `(cells,)`.
    """

    table: CountTable
    proportions: np.ndarray
    inverse_dispersion: np.ndarray
    depth: np.ndarray


def simulate(settings: SimulatorSettings) -> Simulation:
    """Makes a table by the recipe at the head of this file."""
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(settings.seed)))
    types, studies, genes, cells = settings.types, settings.studies, settings.genes, settings.cells
    base = draw.normal(0, BASE_SPREAD, genes)
    marked = draw.uniform(0, 1, (types, genes)) < MARKED_SHARE
    change = draw.normal(0, CHANGE_SPREAD, (types, genes))
    shift = draw.normal(0, settings.study_effect, (studies, genes))
    theta = np.exp(draw.normal(np.log(THETA_MEDIAN), THETA_SPREAD, genes))
    mixture = np.exp(draw.normal(0, MIXTURE_SPREAD, (studies, types)))
    weights = mixture / np.arange(1, types + 1) ** settings.zipf
    cumulated = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)  # (studies, types)
    study = np.floor(studies * draw.uniform(0, 1, cells)).astype(int)
    cell_type = np.minimum((cumulated[study] <= draw.uniform(0, 1, cells)[:, None]).sum(axis=1), types - 1)
    depth = settings.median_depth * np.exp(draw.normal(0, settings.depth_spread, cells))

    logits = base + (marked * change)[:, None] + shift  # (types, studies, genes)
    proportions = np.exp(logits - logits.max(axis=-1, keepdims=True))
    proportions /= proportions.sum(axis=-1, keepdims=True)
    blocks = []
    for first in range(0, cells, BLOCK_CELLS):
        block = slice(first, first + BLOCK_CELLS)
        mean = depth[block, None] * proportions[cell_type[block], study[block]]
        counts = draw.poisson(draw.gamma(theta, mean / theta)).astype("int32")
        empty = np.flatnonzero(counts.sum(axis=1) == 0)
        counts[empty, mean[empty].argmax(axis=1)] = 1
        blocks.append(scipy.sparse.csr_array(counts))
    counts = scipy.sparse.csr_array(scipy.sparse.vstack(blocks, format="csr"))
    table = CountTable(
        counts,
        np.array([f"gene {gene}" for gene in range(genes)]),
        np.array([f"cell {cell}" for cell in range(cells)]),
        np.asarray(counts.sum(axis=1), "float64"),
        {"cell_type": _names("type", cell_type, types), "study": _names("study", study, studies)},
        "simulated_counts",
    )
    return Simulation(table, proportions, theta, depth)


def _names(kind, numbers, count):
    """Names that sort like the numbers."""
    width = len(str(count - 1))
    return np.array([f"{kind} {number:0{width}d}" for number in range(count)])[numbers]

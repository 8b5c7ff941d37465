"""What simple models of counts reach on held-out cells: what a trained one must beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.cluster.vq

from kseparation.data.counts import CountDataset
from kseparation.metrics.code_metrics import adjusted_rand_index, normalized_mutual_information, perplexity, purity
from kseparation.metrics.count_likelihood import CountLikelihood, nll_of_counts
from kseparation.metrics.principal_components import principal_components

# Molecules at the global rate that each group is given besides its own, so that a gene it never showed is not impossible.
PSEUDO_COUNTS = 2000.0
COMPONENTS = 20
RESTARTS = 10
LLOYD_STEPS = 50
# Bounds and steps of the search for the inverse dispersion; each step leaves 0.62 of the interval of its logarithm, in the end 4e-6 of it.
LOWEST, HIGHEST, STEPS = 1e-3, 1e4, 26
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Baseline:
    """One row of the table.

    Args:
        name: what the rate of a gene depends on besides the library size.
        nll_per_entry: negative log-likelihood of the test, mean over cells and genes, in nats; None where no model goes with it.
        nll_per_cell: the same summed over the genes.
        ari: adjusted Rand index of the groups with the labels, over all cells; None without labels.
        nmi: normalised mutual information, likewise.
        purity: share of cells with the commonest label of their group, likewise.
        perplexity: of the groups, over all cells.
    """

    name: str
    nll_per_entry: float | None
    nll_per_cell: float | None
    ari: float | None
    nmi: float | None
    purity: float | None
    perplexity: float


def count_baselines(data: CountDataset, clusters: Sequence[int] = (10, 16, 32, 64), seed: int = 0, partitions: Sequence[str] = ()) -> list[Baseline]:
    """Fits the simple models to all cells outside the test, those of the validation too, and scores them on the test.

    The mean of an entry is the rate of its gene in the group of its cell, times the library size; each gene has the inverse dispersion of largest likelihood on the cells it was
    fitted to. The groups are: all cells; the labels, an oracle that no model is given; clusters by k-means on 20 principal components of log1p(counts / library x 10000),
    found without the test, whose cells go to the nearest centre.

    Args:
        data: the table and its parts.
        clusters: numbers of clusters.
        seed: of k-means.
        partitions: columns of the cells that are compared with the labels and nothing else, such as clusters that came with the file.
    """
    table, test = data.all_cells, data.cells("test")
    fitted = np.setdiff1d(np.arange(len(table)), test)
    labels = None if data.label_names == () else _labels_of_all(data)
    counts = table.dense(np.arange(len(table))).astype("float64")

    def row(name: str, groups: np.ndarray, model: bool = True) -> Baseline:
        agreement = (None, None, None)
        if labels is not None:
            agreement = tuple(score(groups, labels) for score in (adjusted_rand_index, normalized_mutual_information, purity))
        scores = _scores(counts, table.library_sizes, groups, fitted, test) if model else {"nll_per_entry": None, "nll_per_cell": None}
        return Baseline(name, **scores, ari=agreement[0], nmi=agreement[1], purity=agreement[2], perplexity=perplexity(groups))

    rows = [row("one rate per gene", np.zeros(len(table), int))]
    if labels is not None:
        rows.append(row("rates per label (oracle)", labels))
    components = principal_components(counts, table.library_sizes, COMPONENTS, fitted)
    rows += [row(f"rates per cluster, k-means {number}", _k_means(components, fitted, number, seed)) for number in clusters]
    return rows + [row(f"{name}, as in the file", table.groups([name])[0], model=False) for name in partitions]


def _labels_of_all(data):
    parts = [split for split in ("train", "validation", "test") if len(data.parts[split])]
    labels = np.empty(len(data.all_cells), int)
    labels[np.concatenate([data.cells(part) for part in parts])] = np.concatenate([data.labels(part) for part in parts])
    return labels


def _scores(counts, library_sizes, groups, fitted, test):
    means = _smoothed_rates(counts[fitted], library_sizes[fitted], groups[fitted], groups.max() + 1)[groups] * library_sizes[:, None]
    theta = largest_likelihood(lambda theta: nll_of_counts(counts[fitted], means[fitted], theta).sum(axis=0), counts.shape[1])
    score = CountLikelihood()
    score.update(counts[test], means[test], theta)
    return score.result()


def _smoothed_rates(counts, library_sizes, groups, number):
    """Counts of each gene per molecule read, `(groups, genes)`, drawn towards the rate of all cells."""
    # A gene that the fitted cells never show would be impossible elsewhere: half a count in all of them.
    rate = np.maximum(counts.sum(axis=0), 0.5) / library_sizes.sum()
    sums = np.zeros((number, counts.shape[1]))
    np.add.at(sums, groups, counts)
    sizes = np.bincount(groups, library_sizes, number)
    return (sums + PSEUDO_COUNTS * rate) / (sizes + PSEUDO_COUNTS)[:, None]


def largest_likelihood(nll: Callable[[np.ndarray], np.ndarray], genes: int) -> np.ndarray:
    """Returns the inverse dispersion of each gene, between 1e-3 and 1e4, at which its negative log-likelihood is smallest, by golden-section search on its logarithm.

    Args:
        nll: gives the negative log-likelihood of each gene, `(genes,)`, at inverse dispersions `(genes,)`.
        genes: their number.
    """
    low, high = np.full(genes, np.log(LOWEST)), np.full(genes, np.log(HIGHEST))
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    values = [nll(np.exp(point)) for point in inner]
    for _ in range(STEPS):
        left = values[0] < values[1]
        low, high = np.where(left, low, inner[0]), np.where(left, inner[1], high)
        new = np.where(left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        value = nll(np.exp(new))
        inner = [np.where(left, new, inner[1]), np.where(left, inner[0], new)]
        values = [np.where(left, value, values[1]), np.where(left, values[0], value)]
    return np.exp((low + high) / 2)


def _k_means(points, fitted, number, seed):
    """Cluster of each point: the best of ten runs from k-means++ on the fitted ones, by the sum of squared distances."""
    best, centres = np.inf, None
    for restart in range(RESTARTS):
        rng = np.random.default_rng([seed, number, restart])
        found, _ = scipy.cluster.vq.kmeans2(points[fitted], number, LLOYD_STEPS, minit="++", rng=rng)
        error = float(np.sum(scipy.cluster.vq.vq(points[fitted], found)[1] ** 2))
        if error < best:
            best, centres = error, found
    return scipy.cluster.vq.vq(points, centres)[0]


def as_table(rows: Sequence[Baseline]) -> str:
    """Returns the rows as a Markdown table."""
    lines = ["| model | held-out NLL / entry | / cell | ARI | NMI | purity | perplexity |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [_number(row.nll_per_entry, 4), _number(row.nll_per_cell, 1), *(_number(value, 3) for value in (row.ari, row.nmi, row.purity)), _number(row.perplexity, 1)]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"

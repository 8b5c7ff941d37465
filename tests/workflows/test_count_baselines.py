import dataclasses

import numpy as np
import pytest
from scipy import optimize

from kseparation.data.counts import PBMC68k, SimulatedCounts
from kseparation.metrics.count_likelihood import CountLikelihood, nll_of_counts
from kseparation.workflows.count_baselines import as_table, count_baselines, largest_likelihood


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in count_baselines(PBMC68k(), clusters=(16,), partitions=["louvain"])}


def test_the_published_numbers_come_out(rows):
    """Of the same split: 717.3 and 674.1 per cell, 0.9376 (cut off) and 0.8812 per entry; scikit-learn's k-means gave about 0.8616."""
    one, oracle, clusters = (rows[name] for name in ("one rate per gene", "rates per label (oracle)", "rates per cluster, k-means 16"))
    assert (one.nll_per_cell, oracle.nll_per_cell) == (pytest.approx(717.3, abs=0.05), pytest.approx(674.1, abs=0.05))
    assert (one.nll_per_entry, oracle.nll_per_entry) == (pytest.approx(0.93765, abs=1e-4), pytest.approx(0.8812, abs=1e-4))
    assert clusters.nll_per_entry == pytest.approx(0.8616, abs=0.003)
    assert clusters.ari == pytest.approx(0.34, abs=0.06) and clusters.nmi == pytest.approx(0.593, abs=0.03) and clusters.perplexity == pytest.approx(14, abs=1.2)


def test_groups_that_tell_nothing_and_everything_score_so(rows):
    assert rows["one rate per gene"].ari == pytest.approx(0, abs=1e-9) and rows["one rate per gene"].perplexity == 1
    assert rows["rates per label (oracle)"].ari == rows["rates per label (oracle)"].nmi == rows["rates per label (oracle)"].purity == 1
    louvain = rows["louvain, as in the file"]
    assert louvain.nll_per_entry is None and (louvain.ari, louvain.nmi) == (pytest.approx(0.415, abs=5e-4), pytest.approx(0.617, abs=5e-4))


def test_the_table_has_a_line_for_each(rows):
    lines = as_table(list(rows.values())).splitlines()
    assert lines[2] == "| one rate per gene | 0.9377 | 717.3 | 0.000 | 0.000 | 0.343 | 1.0 |"
    assert lines[-1].startswith("| louvain, as in the file | - | - | 0.415 | 0.617 |") and len(lines) == 6


def test_the_search_finds_what_a_search_gene_by_gene_finds():
    rng = np.random.default_rng(0)
    theta = np.geomspace(0.05, 5, 8)
    mean = rng.uniform(1, 20, (2000, 8))
    counts = rng.poisson(mean * rng.gamma(theta, 1 / theta, mean.shape))
    found = largest_likelihood(lambda value: nll_of_counts(counts, mean, value).sum(axis=0), 8)
    one_by_one = [
        np.exp(optimize.minimize_scalar(lambda x: nll_of_counts(counts[:, gene], mean[:, gene], np.exp(x)).sum(), bounds=(-6, 9), method="bounded", options={"xatol": 1e-8}).x)
        for gene in range(8)
    ]
    np.testing.assert_allclose(found, one_by_one, rtol=1e-3)
    np.testing.assert_allclose(found, theta, rtol=0.15)


def test_nothing_is_fitted_to_the_test(monkeypatch):
    """Other counts in a cell of the test change neither the rates nor the dispersions by which the others are scored."""

    def fitted(first_cell_is_changed):
        seen = []
        monkeypatch.setattr(CountLikelihood, "update", lambda self, *arrays: seen.append(arrays))
        data = SimulatedCounts(200, 30, 3, 1, label=None)
        if first_cell_is_changed:
            counts = data.all_cells.counts.toarray()
            counts[data.cells("test")[0]] = 9000 * (np.arange(30) == 5)
            data.all_cells = dataclasses.replace(data.all_cells, counts=type(data.all_cells.counts)(counts))
        rows = count_baselines(data, clusters=(3,))
        assert [row.name for row in rows] == ["one rate per gene", "rates per cluster, k-means 3"] and rows[0].ari is None
        return seen

    for (counts, means, theta), (changed, other_means, other_theta) in zip(fitted(False), fitted(True), strict=True):
        assert not np.array_equal(counts[0], changed[0])
        np.testing.assert_array_equal(counts[1:], changed[1:])
        np.testing.assert_array_equal(means[1:], other_means[1:])
        np.testing.assert_array_equal(theta, other_theta)

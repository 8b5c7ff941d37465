import dataclasses

import numpy as np
import pytest
from scipy import stats

from kseparation.data.counts.simulator import SimulatorSettings, simulate

SMALL = SimulatorSettings(cells=1500, genes=40, types=4, studies=2, seed=3)


@pytest.fixture(scope="module")
def large():
    return simulate(SimulatorSettings())


def written_again(settings, cells):
    """The recipe of the module, cell by cell, from its text."""
    g = np.random.Generator(np.random.Philox(np.random.SeedSequence(settings.seed)))
    base = g.normal(0, 1.5, settings.genes)
    marked = g.uniform(0, 1, (settings.types, settings.genes)) < 0.15
    change = g.normal(0, 1.5, (settings.types, settings.genes))
    shift = g.normal(0, settings.study_effect, (settings.studies, settings.genes))
    theta = np.exp(g.normal(np.log(2), 0.5, settings.genes))
    mixture = np.exp(g.normal(0, 0.5, (settings.studies, settings.types)))
    study = [int(settings.studies * u) for u in g.uniform(0, 1, settings.cells)]
    types = []
    for cell, u in enumerate(g.uniform(0, 1, settings.cells)):
        weights = np.array([mixture[study[cell], t] / (t + 1) ** settings.zipf for t in range(settings.types)])
        types.append(min(int(np.sum(np.cumsum(weights / weights.sum()) <= u)), settings.types - 1))
    depth = settings.median_depth * np.exp(g.normal(0, settings.depth_spread, settings.cells))
    rows = []
    for cell in range(1000):
        logits = base + np.where(marked[types[cell]], change[types[cell]], 0) + shift[study[cell]]
        share = np.exp(logits) / np.exp(logits).sum()
        rows.append(depth[cell] * share)
    counts = g.poisson(g.gamma(theta, np.array(rows) / theta))
    return counts[:cells], types, study


def test_the_recipe_in_words_gives_the_same_table():
    counts, types, study = written_again(SMALL, 1000)
    table = simulate(SMALL).table
    assert table.column("cell_type").tolist() == [f"type {number}" for number in types]
    assert table.column("study").tolist() == [f"study {number}" for number in study]
    # A last digit of the mean may differ, and then a draw now and then.
    assert np.mean(table.dense(range(1000)) == counts) > 0.999


def test_same_seed_same_table():
    first, again = simulate(SMALL), simulate(SMALL)
    assert (first.table.counts != again.table.counts).nnz == 0
    assert (first.table.counts != simulate(dataclasses.replace(SMALL, seed=4)).table.counts).nnz > 0


def test_the_default_table_has_what_was_promised(large):
    table = large.table
    assert table.counts.shape == (12000, 300) and table.counts.dtype == np.int32
    types, sizes = np.unique(table.column("cell_type"), return_counts=True)
    assert len(types) == 20 and sizes.min() > 50 and sizes.max() > 20 * sizes.min()
    assert np.all(np.abs(np.unique(table.column("study"), return_counts=True)[1] - 4000) < 200)
    np.testing.assert_array_equal(table.library_sizes, np.asarray(table.counts.sum(axis=1)))


def test_depths_are_lognormal(large):
    logs = np.log(large.depth / 2000)
    assert stats.kstest(logs, "norm", (0, 0.5)).pvalue > 0.01
    assert abs(np.median(large.table.library_sizes) / 2000 - 1) < 0.1


def test_counts_have_the_mean_and_variance_of_a_negative_binomial(large):
    """Of the largest type in one study: scaled to one depth, gene by gene."""
    table = large.table
    cells = np.flatnonzero((table.column("cell_type") == "type 00") & (table.column("study") == "study 0"))
    counts, depth = table.dense(cells).astype("float64"), large.depth[cells, None]
    mean = depth * large.proportions[0, 0]
    variance = mean + mean**2 / large.inverse_dispersion
    standard = (counts - mean) / np.sqrt(variance)
    assert np.abs(standard.mean(axis=0) * np.sqrt(len(cells))).max() < 5
    assert abs((standard**2).mean() - 1) < 0.03


def test_studies_differ_less_than_types(large):
    logs = np.log(large.proportions)
    centred = logs - logs.mean(axis=-1, keepdims=True)
    assert 2 * centred.std(axis=1).mean() < centred.std(axis=0).mean()


def test_a_cell_without_counts_gets_one():
    table = simulate(dataclasses.replace(SMALL, median_depth=0.01)).table
    assert table.library_sizes.min() == 1 and np.mean(table.library_sizes == 1) > 0.9


@pytest.mark.parametrize(("name", "value"), [("cells", 0), ("genes", 1), ("types", 0), ("studies", 0), ("seed", -1), ("median_depth", 0.0), ("zipf", -1.0), ("depth_spread", 4.0), ("study_effect", -0.1)])
def test_words_of_errors(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {name}={value}"):
        SimulatorSettings(**{name: value})

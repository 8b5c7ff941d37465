from pathlib import Path

import numpy as np
import pytest

from kseparation.config.arguments import check_arguments
from kseparation.data.counts import COUNT_DATASETS, CountFile, PBMC68k, SimulatedCounts
from kseparation.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden"
WU2020 = str(GOLDEN / "wu2020.h5ad")


def test_the_built_in_table_is_what_its_notice_says():
    data = PBMC68k()
    counts = data.all_cells.counts.toarray()
    assert counts.shape == (700, 765) and counts.max() == 259 and round(np.mean(counts > 0), 3) == 0.326
    assert (counts.sum(axis=1).min(), counts.sum(axis=1).max()) == (342, 1654)
    sizes = data.all_cells.library_sizes
    assert (sizes.min(), sizes.max()) == (2141, 9497) and np.all(counts.sum(axis=1) <= sizes)
    assert [len(data.all_cells.groups([name])[1]) for name in ("bulk_labels", "phase", "louvain")] == [10, 3, 11]
    assert data.label_names[:2] == ("CD14+ Monocyte", "CD19+ B") and {"HES4", "CD3D", "NKG7"} <= set(data.all_cells.genes.tolist())


def test_marker_genes_are_where_they_belong():
    """That labels, genes and counts stand in the same order: CD79A is of B cells, NKG7 of killer cells, LYZ of monocytes."""
    data = PBMC68k()
    for gene, label in (("CD79A", "CD19+ B"), ("NKG7", "CD56+ NK"), ("LYZ", "CD14+ Monocyte")):
        column = data.all_cells.genes.tolist().index(gene)
        rates = data.all_cells.counts.toarray()[:, column] / data.all_cells.library_sizes
        means = {name: rates[data.all_cells.column("bulk_labels") == name].mean() for name in data.label_names}
        others = sorted(means.values())
        assert means[label] in others[-2:] and means[label] > 3 * np.median(others)


def test_the_notice_names_sources_and_licence():
    text = " ".join((Path(__file__).parents[3] / "kseparation" / "data" / "counts" / "NOTICE.md").read_text(encoding="utf-8").split())
    for words in ("10x Genomics", "scanpy 1.11.5", "BSD 3-Clause License", "Copyright (c) 2017 F. Alexander Wolf, P. Angerer, Theis Lab", "THIS SOFTWARE IS PROVIDED"):
        assert words in text


def test_the_test_is_that_of_the_published_baselines():
    data = PBMC68k()
    order = np.random.RandomState(0).permutation(700)
    np.testing.assert_array_equal(np.concatenate([data.cells("train"), data.cells("validation")]), order[:560])
    np.testing.assert_array_equal(data.cells("test"), order[560:])
    assert [len(data.table(split)) for split in ("train", "validation", "test")] == [504, 56, 140]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_counts_conditions_and_labels_of_a_part_belong_together(split):
    data = CountFile(WU2020, conditions=("source",), label="cluster_orig")
    table, cells = data.table(split), data.cells(split)
    assert data.condition_names == ("Blood", "NAT", "Tumor") and len(data.label_names) == 16
    assert [data.condition_names[number] for number in data.conditions(split)] == data.all_cells.column("source")[cells].tolist()
    assert [data.label_names[number] for number in data.labels(split)] == table.column("cluster_orig").tolist()
    np.testing.assert_array_equal(table.dense(range(len(table))), data.all_cells.dense(cells))


def test_parts_are_a_partition_and_follow_the_seed():
    one, other = (SimulatedCounts(300, 20, 4, 2, split_seed=seed, conditions=("study",)) for seed in (0, 1))
    cells = np.concatenate([one.cells(split) for split in ("train", "validation", "test")])
    assert sorted(cells.tolist()) == list(range(300))
    assert not np.array_equal(one.cells("test"), other.cells("test"))
    assert one.condition_names == ("study 0", "study 1") and len(one.label_names) == 4 and one.simulation.proportions.shape == (4, 2, 20)
    assert PBMC68k(label=None).labels("test") is None


def test_words_of_errors():
    with pytest.raises(UserError, match="has no column `sauce` in obs. Did you mean `source`"):
        CountFile(WU2020, conditions=("sauce",))
    with pytest.raises(UserError, match="`pbmc68k` has no column `study` of its cells. Valid: `bulk_labels`, `phase`"):
        PBMC68k(conditions=("study",))
    with pytest.raises(UserError, match="`data.test_split` must be at least 0 and below 1. Received: 1.0"):
        PBMC68k(test_split=1.0)
    with pytest.raises(UserError, match="leave no cell to train on. Received: 0.9 and 0.9, of 3 cells"):
        SimulatedCounts(3, 10, 2, 1, validation_split=0.9, test_split=0.9)
    with pytest.raises(UserError, match="There are no cells for `validation`. Required: a `data.validation_split` above 0"):
        PBMC68k(validation_split=0.0).table("validation")
    with pytest.raises(UserError, match=r"`data.conditions`: `[\d.]+` has 1 of 200 cells, and none of them to train on. Join it"):
        CountFile(WU2020, conditions=("library_size",))


@pytest.mark.parametrize("name", COUNT_DATASETS)
def test_a_config_may_give_every_argument(name):
    arguments = {"conditions": ["a", "b"], "label": "t", "validation_split": 0.2, "test_split": 0.3, "split_seed": 4}
    arguments |= {"count_file": {"root": "x.h5ad", "layer": "counts", "size_factors": "n"}, "simulated_counts": {"cells": 5, "median_depth": 10}}.get(name, {})
    checked = check_arguments(COUNT_DATASETS[name], arguments, name)
    assert checked["conditions"] == ("a", "b") and set(checked) == set(arguments)

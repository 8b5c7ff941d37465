import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseparation.data.counts import read_h5ad, stratified_cells
from kseparation.data.counts.stratified import quotas
from kseparation.errors import UserError

WU2020 = Path(__file__).parents[2] / "golden" / "wu2020.h5ad"


@pytest.mark.parametrize(("samples", "expected"), [(60, {"Blood": 20, "NAT": 20, "Tumor": 20}), (120, {"Blood": 20, "NAT": 50, "Tumor": 50}), (200, {"Blood": 20, "NAT": 85, "Tumor": 95})])
def test_tissues_of_real_cells_get_equal_quotas(samples, expected, caplog):
    groups, names = read_h5ad(WU2020, columns=["source"]).groups(["source"])
    with caplog.at_level(logging.WARNING, "kseparation"):
        cells = stratified_cells(groups, names, samples, column="source")
    assert dict(zip(names, np.bincount(groups[cells]).tolist())) == expected
    assert len(set(cells.tolist())) == samples
    if samples == 60:
        assert not caplog.records
    if samples == 120:
        (record,) = caplog.records
        assert record.getMessage().startswith("`source`: `Blood` has 20 cells, fewer than its quota of 40 of 120 samples. All of them are taken")
        assert record.getMessage().endswith("for equal shares set `num_samples` to 60 or less, or join conditions.")


def test_the_draw_depends_on_the_seed_alone():
    groups = np.repeat([0, 1], 50)
    first, again, other = (stratified_cells(groups, ("a", "b"), 30, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(np.sort(first), np.sort(other))
    # In random order: not one condition after the other.
    assert 0 < np.sum(groups[first[:15]]) < 15


def test_more_samples_than_cells_are_refused():
    with pytest.raises(UserError, match="`num_samples` asks for more cells than there are. Received: 61, for 60 cells. Set it to 60 or less"):
        stratified_cells(np.zeros(60, int), ("all",), 61)
    with pytest.raises(ValueError, match="samples=201"):
        quotas([95, 85, 20], 201)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.floats(0, 1))
def test_quotas_add_up_and_no_group_gives_less_than_a_smaller_share_of_another(sizes, share):
    samples = int(share * sum(sizes))
    shares = quotas(sizes, samples)
    assert sum(shares) == samples and all(0 <= part <= size for part, size in zip(shares, sizes))
    # A group that was not used up gives as many as any other, or one less.
    assert all(part >= max(shares) - 1 for part, size in zip(shares, sizes) if part < size)

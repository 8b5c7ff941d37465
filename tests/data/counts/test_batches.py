from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse

from kseparation.data import SegmentStream
from kseparation.data.counts import CountBatches, CountsInOrder, CountTable
from kseparation.data.counts.batches import _generator

CELLS = 23
COUNTS = np.arange(CELLS * 4).reshape(CELLS, 4) + 1
TABLE = CountTable(
    scipy.sparse.csr_array(COUNTS.astype("int32")), np.array(list("abcd")), np.arange(CELLS).astype(str), COUNTS.sum(axis=1) * 2.0
)  # fmt: skip
CONDITIONS, LABELS = np.arange(CELLS) % 3, np.arange(CELLS) % 5


def same(first, second):
    return set(first[0]) == set(second[0]) and all(np.array_equal(first[0][key], second[0][key]) for key in first[0]) and np.array_equal(first[1], second[1])


def test_a_batch_holds_the_cells_of_its_plan():
    batches = CountBatches(TABLE, 5, 7, CONDITIONS, LABELS)
    cells = batches.plan(2, 3)
    inputs, targets = batches.batch(2, 3)
    assert {key: (value.dtype, value.shape) for key, value in inputs.items()} == {
        "counts": (np.float32, (5, 4)), "library_sizes": (np.float32, (5, 1)), "conditions": (np.int32, (5,)), "labels": (np.int32, (5,)),
    }  # fmt: skip
    np.testing.assert_array_equal(inputs["counts"], COUNTS[cells])
    np.testing.assert_array_equal(inputs["library_sizes"][:, 0], COUNTS[cells].sum(axis=1) * 2)
    np.testing.assert_array_equal(inputs["conditions"], cells % 3)
    np.testing.assert_array_equal(inputs["labels"], cells % 5)
    np.testing.assert_array_equal(targets, COUNTS[cells])
    assert "labels" not in CountBatches(TABLE, 5).batch(0, 0)[0]


@pytest.mark.parametrize("size", [1, 5, 23, 60])
def test_every_round_has_each_cell_once(size):
    batches = CountBatches(TABLE, size)
    plans = np.concatenate([batches.plan(0, index) for index in range(-(-3 * CELLS // size))])
    rounds = plans[: 3 * CELLS].reshape(3, CELLS)
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile(np.arange(CELLS), (3, 1)))
    assert not np.array_equal(rounds[0], rounds[1])


def test_a_batch_depends_on_seed_epoch_and_index_alone():
    one = CountBatches(TABLE, 5, 3)
    places = [(epoch, index) for epoch in range(12) for index in range(8)]
    expected = [one.plan(*place) for place in places]
    for place, plan in reversed(list(zip(places, expected))):
        np.testing.assert_array_equal(CountBatches(TABLE, 5, 3).plan(*place), plan)
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(lambda place: one.plan(*place), places), expected))
    assert not np.array_equal(CountBatches(TABLE, 5, 4).plan(0, 0), expected[0]) and not np.array_equal(expected[0], expected[8])
    # Fixed for good: a resumed training meets what it would have met.
    assert CountBatches(TABLE, 5, 0).plan(0, 0).tolist() == [8, 7, 0, 12, 9]


def test_a_draw_of_its_own_for_every_key():
    """NumPy pads a seed with zeros, so that (0, 1) and (0, 1, 0) would be one."""
    assert np.array_equal(np.random.SeedSequence([0, 1]).generate_state(4), np.random.SeedSequence([0, 1, 0]).generate_state(4))
    keys = [[0, 1], [0, 1, 0], [0, 1, 0, 0], [1, 0], [1, 0, 0], [0, 0, 1]]
    assert len({_generator(key).integers(2**60) for key in keys}) == len(keys)


def test_a_batch_that_is_drawn_anew_is_another():
    batches = CountBatches(TABLE, 5)
    plans = [batches.plan(0, 1, draw) for draw in range(3)]
    assert len({tuple(plan) for plan in plans}) == 3 and all(len(set(plan.tolist())) == 5 for plan in plans)
    np.testing.assert_array_equal(batches.batch(0, 1, 2)[0]["counts"], COUNTS[plans[2]])
    assert len(CountBatches(TABLE, 60).plan(0, 0, 1)) == 60


@pytest.mark.parametrize("workers", [0, 3])
def test_they_are_read_ahead_like_those_of_songs(workers):
    batches = CountBatches(TABLE, 5, 1, CONDITIONS)
    with SegmentStream(batches, steps_per_epoch=3, first_epoch=1, workers=workers, first_index=2) as stream:
        assert all(same(next(stream), batches.batch(*place)) for place in [(1, 2), (2, 0), (2, 1), (2, 2), (3, 0)])


@pytest.mark.parametrize(("size", "lengths"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (100, [23])])
def test_all_cells_come_once_in_their_order(size, lengths):
    batches = CountsInOrder(TABLE, size, CONDITIONS)
    assert len(batches) == len(lengths) and [len(inputs["counts"]) for inputs, _ in batches] == lengths
    np.testing.assert_array_equal(np.concatenate([inputs["counts"] for inputs, _ in batches]), COUNTS)
    np.testing.assert_array_equal(np.concatenate([inputs["conditions"] for inputs, _ in batches]), CONDITIONS)


def test_words_of_errors():
    with pytest.raises(ValueError, match="batch_size=0"):
        CountBatches(TABLE, 0)
    with pytest.raises(ValueError, match="`labels` needs one number for each of 23 cells. Received: 2"):
        CountsInOrder(TABLE, 5, labels=[1, 2])

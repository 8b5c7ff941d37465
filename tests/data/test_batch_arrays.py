"""Batches as arrays by name, and back."""

import numpy as np

from kseparation.data.batch_arrays import batch_of, numbered


def test_batches_of_arrays_and_of_mappings_come_back():
    flat, nested = (np.zeros(2), np.ones(3)), ({"a": np.zeros(2), "b": np.ones(1)}, np.full(4, 7.0))
    arrays = numbered(flat, ("x", "y"), 0) | numbered(nested, ("x", "y"), 10)
    assert list(arrays) == ["x_0", "y_0", "x/a_10", "x/b_10", "y_10"]
    assert [part.tolist() for part in batch_of(arrays, ("x", "y"), 0)] == [[0, 0], [1, 1, 1]]
    found = batch_of(arrays, ("x", "y"), 10)
    assert {key: part.tolist() for key, part in found[0].items()} == {"a": [0, 0], "b": [1]} and found[1].tolist() == [7] * 4


def test_a_batch_that_is_not_whole_is_none():
    arrays = numbered((np.zeros(2), np.ones(3)), ("x", "y"), 1)
    assert batch_of(arrays, ("x", "y"), 0) is None
    del arrays["y_1"]
    assert batch_of(arrays, ("x", "y"), 1) is None

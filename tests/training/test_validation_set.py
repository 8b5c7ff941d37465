import numpy as np

from kseparation.training.validation_set import ValidationSet


def test_batches_come_in_their_order_each_time() -> None:
    batches = [(np.full((2, 3, 1), index), np.full((2, 2, 3, 1), -index)) for index in range(3)]
    held_out = ValidationSet(batches)
    assert len(held_out) == 3
    assert all(held_out[index] is batches[index] for index in (0, 1, 2, 0))

"""The count that schedules of losses go by."""

from keras import ops

from kseparation.metrics.step_count import StepCount
from tests.on_backend import numbers


def test_it_counts_on_over_epochs_and_can_be_set():
    count = StepCount()
    for _ in range(3):
        count.update_state()
    count.reset_state()
    assert numbers(count.result()) == 3
    count.count.assign(ops.convert_to_tensor(7))
    count.update_state("true", "pred")
    assert numbers(count.result()) == 8

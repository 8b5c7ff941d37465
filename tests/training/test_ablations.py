import keras
import numpy as np
import pytest

from kseparation.losses import LOSSES, Objective
from kseparation.training import GuardedOptimizer
from kseparation.training.ablations import fails_from, parts_at_fault, smallest_batch, takes_weights_of
from kseparation.training.state import read_state
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator


@pytest.mark.parametrize(("bad", "expected"), [({3}, [3]), ({0}, [0]), ({1, 2}, [0, 1, 2, 3]), ({4, 5}, [4, 5])])
def test_halving_ends_where_neither_half_fails(bad: set, expected: list) -> None:
    """Two examples that fail only together may lie in different halves."""
    examples = np.arange(8)
    asked = []

    def fails(batch):
        asked.append(len(batch[0]))
        return bad <= set(batch[0].tolist())

    assert smallest_batch([examples, -examples], fails) == expected
    assert max(asked) == 4


def test_the_part_without_which_a_step_is_sound_is_named() -> None:
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1)))
    assert parts_at_fault(model, lambda: True) == []
    losses = {name: LOSSES["waveform_l1"]() for name in ("a", "b")}
    model.compile(model.optimizer, loss=Objective(losses, {"a": 2.0}))
    assert parts_at_fault(model, lambda: model.loss.weights["b"] > 0) == ["b"]
    assert model.loss.weights == {"a": 2.0, "b": 1.0}


def test_weights_are_taken_and_the_optimizer_is_left() -> None:
    model, other = (tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.1), loss_scaling=scaling)) for scaling in (False, True))
    fit(model, tiny_batches(2))
    state = read_state(model)
    takes_weights_of(other, state)
    for variable, value in zip(other.variables, model.variables, strict=True):
        np.testing.assert_array_equal(numbers(variable), numbers(value))
    assert int(other.optimizer.seen_steps) == 0
    fit(model, tiny_batches(1))
    assert fails_from(model, state, lambda: int(model.optimizer.seen_steps) == 2)

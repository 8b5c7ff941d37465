import keras
import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.training import GuardedOptimizer
from kseparation.training.state import read_state, write_state
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def separator(**arguments):
    return tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.05), **arguments))


def test_training_goes_on_bit_for_bit_from_a_state() -> None:
    batches = tiny_batches(6)
    through, first, second = (separator(averaging=0.9) for _ in range(3))
    fit(through, batches)
    fit(first, batches[:3])
    write_state(second, read_state(first))
    fit(second, batches[3:])
    expected, received = read_state(through), read_state(second)
    assert len(expected) == len(received) > 15
    for one, other in zip(expected.values(), received.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_of_another_optimizer_is_refused_and_nothing_is_set() -> None:
    model = separator()
    before = read_state(model)
    with pytest.raises(UserError, match="The checkpoint is of another model or optimizer. Missing: .* Start a new run."):
        write_state(model, read_state(separator(averaging=0.9)))
    assert all(np.array_equal(before[name], value) for name, value in read_state(model).items())


def test_a_state_of_another_shape_is_refused() -> None:
    model = separator()
    state = read_state(model)
    name = next(name for name in state if name.endswith("dense/bias") or name.endswith("bias"))
    with pytest.raises(UserError, match=r"The checkpoint is of another model: `.*bias` has shape \(9,\), required \(4,\)"):
        write_state(model, {**state, name: np.zeros(9, "float32")})

import keras
import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.training import GuardedOptimizer
from kseparation.training.recoverable_rate import RecoverableRate
from kseparation.training.state import RATE, RECORD, read_state, write_state
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def separator(**arguments):
    return tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.05), **arguments))


def recorded(record_steps, recoverable=True, **arguments):
    """As a training has it."""
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 100, 0.9)
    return tiny_separator(GuardedOptimizer(keras.optimizers.Adam(RecoverableRate(rate) if recoverable else rate), record_steps=record_steps, **arguments))


def without(state, names):
    return {name: value for name, value in state.items() if not name.endswith(names)}


def renumbered(state):
    return {f"{index:05d}/{name.split('/', 1)[1]}": value for index, (name, value) in enumerate(state.items())}


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


@pytest.mark.parametrize("others", ["older", "longer", "shorter", "none"])
def test_a_record_of_another_length_or_none_begins_anew(others: str) -> None:
    """The rest is that of the checkpoint, and goes on as if the record had been there."""
    batches = tiny_batches(5)
    through, first, second = (recorded(steps, averaging=0.9) for steps in (4, {"longer": 8, "shorter": 2}.get(others, 4), 0 if others == "none" else 4))
    fit(through, batches)
    fit(first, batches[:3])
    fit(second, batches[:1])  # what it has recorded is of another course
    second.optimizer.recoverable_rate.change(0.5, 1)
    state = read_state(first)
    if others == "older":
        state = renumbered(without(state, (*RECORD, *RATE)))
    write_state(second, state)
    if second.optimizer.record:
        assert len(second.optimizer.record.read()["step"]) == 0
    assert (float(second.optimizer.recoverable_rate.factor), int(second.optimizer.recoverable_rate.changed_at)) == (1.0, -100)
    fit(second, batches[3:])
    expected, received = (list(without(read_state(model), RECORD).values()) for model in (through, second))
    assert len(expected) == len(received) > 15
    for one, other in zip(expected, received, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)  # a program without the record may round otherwise
    if second.optimizer.record:
        assert second.optimizer.record.read()["step"].tolist() == [4, 5]


def test_a_record_of_the_same_length_goes_on() -> None:
    first, second = recorded(4), recorded(4)
    fit(first, tiny_batches(3))
    first.optimizer.recoverable_rate.change(0.5, 2)
    write_state(second, read_state(first))
    assert second.optimizer.record.read()["step"].tolist() == [1, 2, 3]
    assert (float(second.optimizer.recoverable_rate.factor), int(second.optimizer.recoverable_rate.changed_at)) == (0.5, 2)


def test_a_lowered_rate_is_not_lost_and_nothing_is_set_where_the_rest_differs() -> None:
    first, second = recorded(4), recorded(4, recoverable=False)
    fit(first, tiny_batches(1))
    before = read_state(second)
    with pytest.raises(UserError, match="unexpected: .*rate_factor"):
        write_state(second, read_state(first))
    with pytest.raises(UserError, match="The checkpoint is of another model or optimizer"):
        write_state(second, read_state(recorded(2, averaging=0.9)))
    assert all(np.array_equal(before[name], value) for name, value in read_state(second).items())

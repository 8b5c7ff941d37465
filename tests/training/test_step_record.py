import keras
import numpy as np
import pytest

from kseparation.training import GuardedOptimizer
from kseparation.training.step_record import StepRecord, layer_of
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def trained(batches, **arguments):
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1), record_steps=4, **arguments))
    fit(model, batches)
    return model, model.optimizer.record.read()


def test_the_last_steps_are_kept_oldest_first() -> None:
    model, record = trained(tiny_batches(6))
    assert record["step"].tolist() == [3, 4, 5, 6]
    assert [layer.rsplit("/", 1)[-1] for layer in model.optimizer.record.layers] == ["normalize", "dense"]
    assert record["accepted"].tolist() == [1, 1, 1, 1] and record["lr"] == pytest.approx([0.1] * 4)
    np.testing.assert_allclose(np.sqrt(np.sum(record["gradients"] ** 2, axis=1)), record["grad_norm"], rtol=1e-5)
    np.testing.assert_allclose(record["updates"], 0.1 * record["gradients"], rtol=1e-3)
    assert record["grad_norm"][-1] == numbers(model.optimizer.gradient_norm)


def test_a_rejected_step_is_kept_as_it_was_and_spoils_no_other_layer() -> None:
    batches = tiny_batches(3)
    batches[1][1][0, 0, 0, 0] = np.nan
    _, record = trained(batches)
    assert record["accepted"].tolist() == [1, 0, 1]
    assert np.isnan(record["grad_norm"]).tolist() == [False, True, False]
    assert np.isfinite(record["gradients"][[0, 2]]).all()


def test_a_bad_gradient_is_that_of_its_layer_alone() -> None:
    variables = [keras.Variable(np.ones(2, "float32"), name="kernel") for _ in range(2)]
    for variable, path in zip(variables, ("a/kernel", "b/kernel"), strict=True):
        variable._path = path
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), record_steps=2)
    optimizer.apply([keras.ops.array([np.inf, 1.0]), keras.ops.array([3.0, 4.0])], variables)
    record = optimizer.record.read()
    assert np.isinf(record["gradients"][0, 0]) and record["gradients"][0, 1] == pytest.approx(5)


def test_a_step_that_was_not_made_has_changed_nothing() -> None:
    """Momentum and decay would move the weights with gradients of zero too."""
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1), record_steps=4))
    batches = tiny_batches(3)
    batches[1][1][0, 0, 0, 0] = np.nan
    fit(model, batches)
    updates = model.optimizer.record.read()["updates"]
    assert (updates[[0, 2]] > 0).all() and (updates[1] == 0).all()


def test_a_weight_that_would_not_be_finite_is_seen_in_its_layer() -> None:
    variables = [keras.Variable(np.ones(2, "float32"), name="kernel") for _ in range(2)]
    for variable, path in zip(variables, ("a/kernel", "b/kernel"), strict=True):
        variable._path = path
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1e21), record_steps=2)
    optimizer.apply([keras.ops.array([1e18, 1.0]), keras.ops.array([3e-5, 4e-5])], variables)
    record = optimizer.record.read()
    assert record["accepted"].tolist() == [0] and not np.isfinite(record["updates"][0, 0]) and record["updates"][0, 1] == 0


def test_which_layer_owns_a_variable_is_found_once() -> None:
    class Counted(str):
        seen = 0

        def rsplit(self, *arguments):
            Counted.seen += 1
            return super().rsplit(*arguments)

    variables = [keras.Variable(np.ones(2, "float32"), name="kernel") for _ in range(2)]
    for variable, path in zip(variables, ("a/kernel", "b/kernel"), strict=True):
        variable._path = Counted(path)
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), record_steps=8)
    gradients = [keras.ops.ones(2), keras.ops.ones(2)]
    optimizer.apply(gradients, variables)
    once = Counted.seen
    for _ in range(3):
        optimizer.apply(gradients, variables)
    assert Counted.seen == once > 0
    with pytest.warns(UserWarning, match="does not depend on these variables"):
        optimizer.apply([None, gradients[1]], variables)  # others: found anew
    assert Counted.seen > once
    record = optimizer.record.read()
    assert record["gradients"][-1].tolist() == [0, pytest.approx(np.sqrt(2))]


def test_micro_batches_write_one_row_a_step() -> None:
    _, record = trained(tiny_batches(6), accumulate_steps=3)
    assert record["step"].tolist() == [1, 2]


def test_the_layer_of_a_variable_and_limits() -> None:
    assert layer_of("model/block/dense/kernel") == "model/block/dense"
    with pytest.raises(ValueError, match="`steps` must be at least 1. Received: steps=0"):
        StepRecord(0)
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), record_steps=5)
    assert GuardedOptimizer.from_config(optimizer.get_config()).record.steps == 5

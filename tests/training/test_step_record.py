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


def test_micro_batches_write_one_row_a_step() -> None:
    _, record = trained(tiny_batches(6), accumulate_steps=3)
    assert record["step"].tolist() == [1, 2]


def test_the_layer_of_a_variable_and_limits() -> None:
    assert layer_of("model/block/dense/kernel") == "model/block/dense"
    with pytest.raises(ValueError, match="`steps` must be at least 1. Received: steps=0"):
        StepRecord(0)
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), record_steps=5)
    assert GuardedOptimizer.from_config(optimizer.get_config()).record.steps == 5

import keras
import numpy as np

from kseparation.training import GuardedOptimizer
from kseparation.training.state import read_state
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def statistics(model) -> list[np.ndarray]:
    return [value for name, value in read_state(model).items() if name.endswith(("moving_mean", "moving_variance"))]


def test_a_rejected_step_leaves_no_mark_in_statistics_that_are_finite() -> None:
    model, (sound, bad) = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.01))), tiny_batches(2)
    fit(model, [sound])
    before = statistics(model)
    bad[0][...] *= 1e12
    bad[1][0, 0, 0, 0] = np.nan
    fit(model, [bad])
    assert int(model.optimizer.skipped_steps) == 1
    np.testing.assert_array_equal(statistics(model), before)
    fit(model, [sound])
    assert any(np.any(now != old) for now, old in zip(statistics(model), before, strict=True))


def test_a_micro_batch_counts_until_the_one_that_is_bad() -> None:
    model, batches = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.01), accumulate_steps=3)), tiny_batches(3)
    batches[1][1][0, 0, 0, 0] = np.nan
    other = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.01), accumulate_steps=3))
    fit(model, batches)
    fit(other, batches[:1])
    np.testing.assert_array_equal(statistics(model), statistics(other))


def test_with_another_optimizer_the_step_is_that_of_keras() -> None:
    model, (bad,) = tiny_separator(keras.optimizers.SGD(0.01)), tiny_batches(1)
    before = statistics(model)
    bad[1][0, 0, 0, 0] = np.nan
    fit(model, [bad])
    assert any(np.any(now != old) for now, old in zip(statistics(model), before, strict=True))

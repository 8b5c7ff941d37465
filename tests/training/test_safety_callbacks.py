"""The public callbacks in somebody else's model: plain Keras layers, optimizer and loss."""

import keras
import numpy as np
import pytest

from kseparation.training import GradientClipping, GuardedOptimizer, TerminateOnNonFinite
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def plain_model(optimizer=None):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss="mse", jit_compile=keras.backend.backend() == "jax")
    return model


def data(rows=16, bad=None):
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((rows, 3)).astype("float32"), 30 * draw.standard_normal((rows, 1)).astype("float32")
    if bad is not None:
        y[5] = bad
    return x, y


def train(model, callback, x, y, epochs=1):
    return model.fit(x, y, batch_size=2, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_plain_training_ends_at_the_first_bad_loss(bad: float) -> None:
    guard = TerminateOnNonFinite()
    history = train(plain_model(), guard, *data(bad=bad), epochs=3)
    assert len(history.epoch) == 1
    assert guard.reason.startswith("`loss` is ") and guard.reason.endswith("at batch 3 of epoch 1")


def test_a_second_fit_begins_with_a_clean_slate() -> None:
    guard = TerminateOnNonFinite()
    train(plain_model(), guard, *data(bad=np.nan))
    assert guard.reason is not None
    train(plain_model(), guard, *data())
    assert guard.reason is None


def test_a_sound_training_is_left_alone() -> None:
    guard = TerminateOnNonFinite()
    assert len(train(plain_model(), guard, *data(), epochs=3).epoch) == 3
    assert guard.reason is None


def test_a_guarded_training_ends_after_so_many_rejected_steps_in_a_row() -> None:
    batches = tiny_batches(8)
    for index in (1, 3, 4, 5, 6):
        batches[index][1][...] = np.nan
    guard = TerminateOnNonFinite(in_a_row=3)
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1)))
    fit(model, batches, [guard], epochs=2)
    assert guard.reason == "3 steps in a row had a loss, gradient or weight that is not finite, the last one step 6"
    assert int(model.optimizer.seen_steps) == 6


def test_losses_that_no_loss_scale_explains_end_a_training_in_mixed_precision() -> None:
    batches = tiny_batches(8)
    for index in (1, 3, 4, 5, 6):
        batches[index][1][...] = np.nan
    guard = TerminateOnNonFinite(in_a_row=3)
    fit(tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1), loss_scaling=True)), batches, [guard])
    assert guard.reason.startswith("3 steps in a row") and guard.reason.endswith("step 6")


def test_in_a_row_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="`in_a_row` must be at least 1. Received: in_a_row=0"):
        TerminateOnNonFinite(in_a_row=0)


def test_clipping_wraps_the_optimizer_and_limits_the_norm() -> None:
    model, free = plain_model(keras.optimizers.SGD(1.0)), plain_model(keras.optimizers.SGD(1.0))
    start = [numbers(weight) for weight in free.trainable_variables]
    x, y = data(rows=2)
    train(model, GradientClipping(norm=0.5), x, y)
    train(free, keras.callbacks.Callback(), x, y)
    moved, freely = (
        np.concatenate([(numbers(now) - before).ravel() for now, before in zip(trained.trainable_variables, start, strict=True)])
        for trained in (model, free)
    )
    assert np.linalg.norm(freely) > 1
    np.testing.assert_allclose(moved, 0.5 * freely / np.linalg.norm(freely), atol=1e-5)
    assert int(model.optimizer.clipped_steps) == 1


def test_a_second_fit_goes_on_with_the_first_ones_state() -> None:
    model = plain_model()
    train(model, GradientClipping(norm=1.0), *data())
    first, moments = model.optimizer, [numbers(variable) for variable in model.optimizer.inner_optimizer.variables]
    assert int(first.iterations) == 8 and any(np.any(moment) for moment in moments)
    train(model, GradientClipping(norm=1.0), *data())
    assert model.optimizer is first and int(first.iterations) == 16


def test_clipping_keeps_the_state_of_a_training_before_it() -> None:
    model = plain_model()
    train(model, keras.callbacks.Callback(), *data())
    adam = model.optimizer
    train(model, GradientClipping(norm=1.0), *data())
    assert model.optimizer.inner_optimizer is adam and int(adam.iterations) == 16


def test_another_rule_takes_the_place_of_the_first() -> None:
    model = plain_model()
    train(model, GradientClipping(norm=1.0), *data())
    train(model, GradientClipping(percentile=50.0, history_steps=4), *data())
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.Adam)
    assert int(model.optimizer.iterations) == 16 and np.count_nonzero(numbers(model.optimizer.norm_history)) == 4


def test_another_rule_keeps_what_else_the_guard_does() -> None:
    model = plain_model(GuardedOptimizer(keras.optimizers.SGD(0.1), accumulate_steps=4, averaging=0.9, loss_scaling=True))
    GradientClipping(norm=1.0).set_model(model)
    optimizer = model.optimizer
    assert (optimizer.accumulate_steps, optimizer.averaging, optimizer.loss_scaling, optimizer.clipping.norm) == (4, 0.9, True, 1.0)


def test_a_step_compiled_before_is_not_used_again() -> None:
    model = plain_model(keras.optimizers.SGD(0.01))
    train(model, keras.callbacks.Callback(), *data(rows=2))
    train(model, GradientClipping(norm=1e-3), *data(rows=2))
    assert int(model.optimizer.clipped_steps) == 1


def test_a_fixed_loss_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="`loss_scale_factor` of the optimizer cannot be kept. Received: 1024"):
        GradientClipping(norm=1.0).set_model(plain_model(keras.optimizers.SGD(0.1, loss_scale_factor=1024)))


def test_a_bad_batch_in_somebody_elses_training_is_rejected() -> None:
    model = plain_model()
    train(model, GradientClipping(norm=1.0), *data(bad=np.nan))
    assert (int(model.optimizer.skipped_steps), int(model.optimizer.iterations)) == (1, 7)
    assert all(np.isfinite(numbers(weight)).all() for weight in model.trainable_variables)


def test_a_loss_scale_optimizer_is_taken_over() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = plain_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)))
        train(model, GradientClipping(norm=1.0), *data(), epochs=4)
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = model.optimizer
    assert optimizer.loss_scaling and isinstance(optimizer.inner_optimizer, keras.optimizers.Adam)
    assert int(optimizer.iterations) > 0 and int(optimizer.iterations) + int(optimizer.skipped_steps) == 32
    assert all(np.isfinite(numbers(weight)).all() for weight in model.trainable_variables)


@pytest.mark.parametrize("arguments", [{}, {"norm": 1.0, "percentile": 10.0}])
def test_one_of_the_two_rules_is_given(arguments: dict) -> None:
    with pytest.raises(ValueError, match="Give either `norm` or `percentile`. Received: norm="):
        GradientClipping(**arguments)

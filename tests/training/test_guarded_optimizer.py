import keras
import numpy as np
import pytest
from keras import ops

from kseparation.training import FixedNorm, GuardedOptimizer, PercentileNorm
from kseparation.training import guarded_optimizer as module
from kseparation.training.state import read_state
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator

COUNTERS = ("seen_steps", "skipped_steps", "skipped_in_a_row", "gradient_norm", "sound")
STATISTICS = ("moving_mean", "moving_variance")


class StatesAfterEachBatch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.states = []

    def on_train_batch_end(self, batch, logs=None):
        self.states.append(read_state(self.model))


def ends(names, suffixes):
    return [name for name in names if name.endswith(suffixes)]


def guarded(**arguments):
    return GuardedOptimizer(keras.optimizers.AdamW(0.01), **{"clipping": FixedNorm(1.0), "averaging": 0.9, **arguments})


def stepped(optimizer, gradients, start=(1.0, -2.0, 3.0)):
    """The variable after each gradient, applied directly."""
    variable = keras.Variable(np.array(start, "float32"), name="weight")
    optimizer.build([variable])
    values = []
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(np.asarray(gradient, "float32"))], [variable])
        values.append(numbers(variable))
    return values


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["x", "y"])
def test_a_bad_batch_changes_nothing_and_is_counted(bad: float, where: str) -> None:
    batches = tiny_batches(5)
    batches[2]["xy".index(where)][0, ..., 3, 1] = bad
    model, states = tiny_separator(guarded()), StatesAfterEachBatch()
    fit(model, batches, [states])
    before, after = states.states[1], states.states[2]
    kept = [name for name in before if not name.endswith(COUNTERS)]
    assert len(ends(kept, STATISTICS)) == 2 and len(ends(kept, "average")) == 4 and ends(kept, "iteration") and ends(kept, "norm_history")
    for name in kept:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert (int(model.optimizer.skipped_steps), int(model.optimizer.skipped_in_a_row), int(model.optimizer.seen_steps)) == (1, 0, 5)
    assert int(model.optimizer.iterations) == 4
    kernel = ends(before, "dense/kernel")[0]
    assert np.any(states.states[3][kernel] != after[kernel]) and np.isfinite(states.states[4][kernel]).all()


def test_silence_is_a_step_like_any_other() -> None:
    batches = tiny_batches(2)
    batches[1] = tuple(np.zeros_like(array) for array in batches[1])
    model, states = tiny_separator(guarded()), StatesAfterEachBatch()
    history = fit(model, batches, [states]).history
    assert np.isfinite(history["total"][0])
    assert (int(model.optimizer.skipped_steps), int(model.optimizer.iterations)) == (0, 2)
    bias = ends(states.states[0], "dense/bias")[0]
    assert np.any(states.states[1][bias] != states.states[0][bias])


def test_micro_batches_add_up_to_one_batch() -> None:
    (mixtures, stems), = tiny_batches(1, size=8)
    parts = [(mixtures[start : start + 2], stems[start : start + 2]) for start in range(0, 8, 2)]
    whole = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.5)), normalize=False)
    small = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.5), accumulate_steps=4), normalize=False)
    start = numbers(whole.dense.kernel)
    fit(whole, [(mixtures, stems)])
    fit(small, parts)
    assert np.abs(numbers(whole.dense.kernel) - start).max() > 1e-3
    np.testing.assert_allclose(numbers(small.dense.kernel), numbers(whole.dense.kernel), atol=1e-6)
    assert (int(small.optimizer.seen_steps), int(small.optimizer.iterations)) == (1, 1)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_bad_micro_batch_drops_its_whole_step(bad: int) -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1.0), accumulate_steps=3)
    gradients = np.ones((9, 3))
    gradients[3 + bad, 0] = np.nan
    values = np.array(stepped(optimizer, gradients))
    np.testing.assert_allclose(values[:, 0], [1, 1, 0, 0, 0, 0, 0, 0, -1], atol=1e-6)
    assert (int(optimizer.seen_steps), int(optimizer.skipped_steps), int(optimizer.iterations)) == (3, 1, 2)


def test_averages_follow_their_recurrence() -> None:
    draw = np.random.default_rng(0)
    gradients = draw.standard_normal((30, 3))
    gradients[7] = np.nan
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), averaging=0.6)
    values = stepped(optimizer, gradients)
    average, applied = None, 0
    for step, value in enumerate(values):
        if step == 7:
            continue
        decay = min(0.6, (1 + applied) / (10 + applied))
        average = value.astype("float64") if average is None else decay * average + (1 - decay) * value
        applied += 1
    np.testing.assert_allclose(numbers(optimizer.averages[0]), average, rtol=1e-5)


def test_gradients_are_clipped_to_the_norm_and_counted() -> None:
    gradients = [[3.0, 0.0, 4.0], [0.03, 0.0, 0.04], [0.0, 0.0, 0.0]]
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1.0), FixedNorm(0.5))
    values = [np.array([1.0, -2.0, 3.0]), *stepped(optimizer, gradients)]
    np.testing.assert_allclose(values[0] - values[1], [0.3, 0.0, 0.4], atol=1e-6)
    np.testing.assert_allclose(values[1] - values[2], [0.03, 0.0, 0.04], atol=1e-6)
    assert (int(optimizer.clipped_steps), int(optimizer.skipped_steps), float(optimizer.gradient_norm)) == (1, 0, 0.0)


def test_percentiles_are_those_of_the_last_finite_norms() -> None:
    norms = np.random.default_rng(1).uniform(0.1, 5.0, 25)
    norms[11] = np.nan
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1.0), PercentileNorm(40.0, history_steps=8))
    values = [np.array([1.0, -2.0, 3.0], "float32"), *stepped(optimizer, [[norm, 0, 0] for norm in norms])]
    moved = [float(before[0] - after[0]) for before, after in zip(values, values[1:], strict=False)]
    seen, expected = [], []
    for norm in norms:
        if np.isfinite(norm):
            seen.append(norm)
            expected.append(min(norm, np.percentile(seen[-8:], 40.0, method="lower")))
        else:
            expected.append(0.0)
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_scale_halves_grows_and_has_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOSS_SCALE_GROWTH_STEPS", 3)
    monkeypatch.setattr(module, "FIRST_LOSS_SCALE", 4.0)
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.0), loss_scaling=True)
    variable = keras.Variable(np.ones(2, "float32"))
    optimizer.build([variable])
    scales = []
    for bad in (1, 1, 1, 1, 0, 0, 0, 0, 0, 1):
        optimizer.apply([ops.convert_to_tensor(np.full(2, np.inf if bad else 1.0, "float32"))], [variable])
        scales.append(float(optimizer.loss_scale))
    assert scales == [2, 1, 1, 1, 1, 1, 2, 2, 2, 1]


def test_a_fault_begins_the_count_of_good_steps_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOSS_SCALE_GROWTH_STEPS", 3)
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.0), loss_scaling=True)
    stepped(optimizer, [[1.0] * 3, [1.0] * 3, [np.inf] * 3, [1.0] * 3, [1.0] * 3])
    assert float(optimizer.loss_scale) == 2.0**14


def test_finding_the_loss_scale_is_no_row_of_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_LOSS_SCALE", 4.0)
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.0), loss_scaling=True)
    variable = keras.Variable(np.ones(3, "float32"))
    optimizer.build([variable])
    rows = []
    for _ in range(4):
        optimizer.apply([np.inf * ops.ones(3)], [variable])
        rows.append((int(optimizer.skipped_in_a_row), int(optimizer.skipped_steps)))
    assert rows == [(0, 1), (0, 2), (1, 3), (2, 4)]


def test_the_loss_scale_is_undone_before_the_norm_is_limited() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1.0), FixedNorm(0.5), loss_scaling=True)
    (value,) = stepped(optimizer, [[0.3 * 2**15, 0.0, 0.4 * 2**15]], start=(0.0, 0.0, 0.0))
    np.testing.assert_allclose(value, [-0.3, 0.0, -0.4], rtol=1e-6)
    assert int(optimizer.clipped_steps) == 0


@pytest.mark.parametrize("inner", [keras.optimizers.SGD(1e38), keras.optimizers.Adam(0.1, epsilon=0.0)], ids=["overflow", "0/0"])
def test_an_update_that_is_not_finite_is_rejected(inner) -> None:
    optimizer = GuardedOptimizer(inner, averaging=0.9)
    values = stepped(optimizer, [[10.0, 0.0, 1.0], [20.0, 0.0, 2.0]])
    np.testing.assert_array_equal(values, [[1.0, -2.0, 3.0]] * 2)
    assert (int(optimizer.skipped_steps), int(optimizer.skipped_in_a_row), int(optimizer.iterations)) == (2, 2, 0)
    assert all(np.isfinite(numbers(variable)).all() for variable in optimizer.variables)


@pytest.mark.parametrize(("start", "gradient"), [((1.0, 1e30, 3.0), 1.0), ((1.0, -2.0, 3.0), 1e20)], ids=["weight", "gradient"])
def test_what_is_finite_and_absurdly_large_is_rejected_on_every_backend(start, gradient) -> None:
    """As after a flipped bit: the loss may stay finite for a long time."""
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), FixedNorm(1.0))
    (value,) = stepped(optimizer, [[gradient, 0.0, 0.0]], start)
    np.testing.assert_array_equal(value, np.float32(start))
    assert (int(optimizer.skipped_steps), int(optimizer.iterations)) == (1, 0)


def test_averages_may_begin_after_the_optimizer() -> None:
    inner, variable = keras.optimizers.SGD(0.0), keras.Variable(np.ones(3, "float32"))
    inner.build([variable])
    for _ in range(5):
        inner.apply([ops.ones(3)], [variable])
    optimizer = GuardedOptimizer(inner, averaging=0.9)
    optimizer.build([variable])
    optimizer.apply([ops.ones(3)], [variable])
    np.testing.assert_array_equal(numbers(optimizer.averages[0]), [1.0, 1.0, 1.0])


def test_a_weight_without_a_gradient_is_its_own_average() -> None:
    used, unused = (keras.Variable(np.full(3, value, "float32")) for value in (1.0, 2.0))
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.5), averaging=0.9)
    optimizer.build([used, unused])
    with pytest.warns(UserWarning, match="does not depend on these variables"):
        optimizer.apply([ops.ones(3), None], [used, unused])
    np.testing.assert_array_equal(numbers(optimizer.averages[0]), [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(numbers(optimizer.averages[1]), [2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="No variable has a gradient"):
        optimizer.apply([None, None], [used, unused])


def test_the_average_is_short_at_first() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1.0), averaging=0.999)
    values = stepped(optimizer, [[1.0, 0.0, 0.0]] * 4)
    average = values[0].astype("float64")
    for applied, value in enumerate(values[1:], start=1):
        decay = (1 + applied) / (10 + applied)
        average = decay * average + (1 - decay) * value
    np.testing.assert_allclose(numbers(optimizer.averages[0]), average, rtol=1e-6)


def test_a_bad_micro_batch_halves_the_loss_scale_once() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.0), accumulate_steps=4, loss_scaling=True)
    stepped(optimizer, [[np.inf] * 3, [1.0] * 3, [1.0] * 3, [1.0] * 3])
    assert float(optimizer.loss_scale) == 2.0**14


def test_scaled_gradients_move_the_weights_as_unscaled_ones_do() -> None:
    plain = stepped(GuardedOptimizer(keras.optimizers.SGD(1.0)), [[0.5, 0.25, 1.0]])
    optimizer = GuardedOptimizer(keras.optimizers.SGD(1.0), loss_scaling=True)
    assert float(optimizer.scale_loss(1.0)) == 2.0**15
    scaled = stepped(optimizer, [[0.5 * 2**15, 0.25 * 2**15, 2.0**15]])
    np.testing.assert_array_equal(scaled, plain)


def test_an_overflow_in_float16_at_the_start_recovers() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(1e-8), loss_scaling=True))
    finally:
        keras.config.set_dtype_policy(before)
    loud = [(mixtures * 50, stems * 50) for mixtures, stems in tiny_batches(8)]
    model.loss.weights["waveform_l1"] = 1e4
    fit(model, loud, epochs=3)
    optimizer = model.optimizer
    assert int(optimizer.skipped_steps) > 0 and int(optimizer.iterations) > 0 and int(optimizer.skipped_in_a_row) == 0
    assert 1.0 <= float(optimizer.loss_scale) < 2.0**15
    assert model.dense.compute_dtype == "float16" and np.isfinite(numbers(model.dense.kernel)).all()


def test_config_round_trip() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.Lion(0.3, beta_1=0.8), PercentileNorm(20.0, 50), 3, 0.75, True)
    copy = GuardedOptimizer.from_config(optimizer.get_config())
    assert copy.get_config() == optimizer.get_config()
    assert isinstance(copy.inner_optimizer, keras.optimizers.Lion) and copy.clipping.percentile == 20.0
    assert (copy.accumulate_steps, copy.averaging, copy.loss_scaling) == (3, 0.75, True)


def test_learning_rate_is_that_of_the_wrapped_optimizer() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.5))
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == float(optimizer.inner_optimizer.learning_rate) == 0.25


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"accumulate_steps": 0}, "`accumulate_steps` must be at least 1. Received: accumulate_steps=0"),
        ({"averaging": 1.0}, "`averaging` must lie between 0 and below 1. Received: averaging=1.0"),
    ],
)
def test_wrong_arguments(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GuardedOptimizer(keras.optimizers.SGD(), **arguments)


def test_nothing_to_train_is_no_error() -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1))
    optimizer.build([])
    optimizer.apply([], [])
    assert int(optimizer.seen_steps) == 0

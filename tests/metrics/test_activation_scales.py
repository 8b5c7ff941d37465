import keras
import numpy as np
import pytest

from kseparation.layers.output_watch import called_layers
from kseparation.metrics.activation_scales import ActivationScales, scale_of
from kseparation.training import GuardedOptimizer
from kseparation.training.float_tensors import gradients
from kseparation.training.operation_watch import OperationWatch
from tests.on_backend import numbers
from tests.tiny_separator import SAMPLES, fit, tiny_batches, tiny_separator


def test_rows_are_root_mean_squares_of_the_first_example_and_the_oldest_go() -> None:
    scales = ActivationScales(["a", "b"], steps=3)
    for number in range(5):
        scales.update_state({"a": scale_of(keras.ops.array([[3.0 * number, 4.0 * number], [100.0, 100.0]]))}, number + 1)
    np.testing.assert_allclose(scales.last(3), [[np.sqrt(12.5) * number, 0] for number in (2, 3, 4)], rtol=1e-6)
    np.testing.assert_allclose(scales.last(1), [[np.sqrt(12.5) * 4, 0]], rtol=1e-6)
    scales.reset_state()
    assert int(numbers(scales.result())) == 5 and len(scales.last(9)) == 3


@pytest.mark.parametrize("shape", [(3, 2, 40), (3, 40, 2), (3, 4, 5, 40), (3, 2, 40, 4)])
def test_what_one_place_of_a_short_axis_does_is_seen(shape: tuple[int, ...]) -> None:
    """Stems and channels are few: the second may explode by itself."""
    long = shape.index(40)
    for axis in set(range(1, len(shape))) - {long}:
        for place in range(shape[axis]):
            output = np.ones(shape, "float32")
            output[tuple(place if number == axis else slice(None) for number in range(len(shape)))] = 1e6
            share = 1 / shape[axis]
            np.testing.assert_allclose(numbers(scale_of(keras.ops.array(output))), 1e6 * share**0.5, rtol=1e-5)
    output[1:] = np.nan  # of other examples nothing is seen
    output[0][(*[slice(None)] * (long - 1), slice(1, None, 4))] = np.inf
    assert np.isfinite(numbers(scale_of(keras.ops.array(output))))


def test_what_is_not_finite_stays_so() -> None:
    scales = ActivationScales(["a"], steps=2)
    scales.update_state({"a": scale_of(keras.ops.array([[np.inf, 1.0]]))}, 1)
    assert np.isinf(scales.last(1)[0, 0])


def test_a_training_keeps_the_scales_of_its_layers() -> None:
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.0), record_steps=4))
    layers = called_layers(model, np.zeros((1, SAMPLES, 2), "float32"))
    assert [path.rsplit("/", 1)[-1] for path in layers] == ["normalize", "dense"]
    model.record_activations(layers, 4)
    batches = tiny_batches(3)
    history = fit(model, batches)
    assert "activation_scales" not in history.history
    rows = model.activations.last(4)
    assert rows.shape == (3, 2)
    features = [(mixture - mixture.mean((0, 1))) / np.sqrt(mixture.var((0, 1)) + 1e-5) for mixture, _ in batches]
    np.testing.assert_allclose(rows[:, 0], [np.sqrt(np.mean(np.square(feature[0, ::4]))) for feature in features], rtol=1e-4)
    assert (rows[:, 1] > 0).all()


def rows(scales, number):
    steps, values = scales.last_steps(number)
    return dict(zip(steps.tolist(), values[:, 0].tolist(), strict=True))


def written(steps, numbers):
    scales = ActivationScales(["a"], steps)
    for place, number in enumerate(numbers):
        scales.update_state({"a": keras.ops.array(float(place))}, number)
    return scales


def test_a_step_has_the_row_of_its_last_micro_batch() -> None:
    scales = written(6, [1, 1, 2, 2, 3, 3, 4])
    assert rows(scales, 10) == {1: 1, 2: 3, 3: 5, 4: 6} and rows(scales, 2) == {3: 5, 4: 6}
    assert rows(scales, 0) == {} and rows(ActivationScales(["a"], 2), 2) == {}


def test_a_course_that_was_left_is_left_out() -> None:
    assert rows(written(20, [1, 2, 3, 4, 5, 6, 3, 4]), 10) == {1: 0, 2: 1, 3: 6, 4: 7}
    assert rows(written(20, [1, 2, 3, 4, 5, 3, 4, 2]), 10) == {1: 0, 2: 7}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_writes_its_own_step_beside_each_row(accumulate: int) -> None:
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.0), record_steps=4, accumulate_steps=accumulate)
    model = tiny_separator(optimizer)
    model.record_activations(called_layers(model, np.zeros((1, SAMPLES, 2), "float32")), 4 * accumulate)
    fit(model, tiny_batches(3 * accumulate))
    steps, _ = model.activations.last_steps(4)
    assert steps.tolist() == [1, 2, 3] == model.optimizer.record.read()["step"].tolist()
    model.set_micro_batches(accumulate)  # as after a return to step 1
    fit(model, tiny_batches(accumulate))
    assert model.activations.last_steps(4)[0].tolist() == [1, 2]


def test_who_takes_a_step_apart_sees_nothing_of_the_record() -> None:
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.0), record_steps=4))
    model.record_activations(called_layers(model, np.zeros((1, SAMPLES, 2), "float32")), 4)
    seen, example = [], keras.ops.ones((3, SAMPLES, 2))
    with model.opened_step(), OperationWatch(lambda name, function, args, kwargs: seen.append(name) or function(*args, **kwargs)):
        model.dense(example)
    assert seen and not {"square", "mean", "sqrt"} & set(seen)


def test_no_output_is_kept_through_the_backward_pass() -> None:
    """torch keeps all that is referred to: the storage of a scale must be its own, of one number."""
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.0), record_steps=4))
    model.record_activations(called_layers(model, np.zeros((1, SAMPLES, 2), "float32")), 4)
    with model._scores.handover.step():
        model(np.random.default_rng(0).normal(size=(3, SAMPLES, 2)).astype("float32"), training=True)
        kept = list(model._scores.handover.scales.values())
    assert len(kept) == 2 and all(tuple(scale.shape) == () and numbers(scale) > 0 for scale in kept)
    if keras.backend.backend() == "torch":
        assert all(not scale.requires_grad and scale.untyped_storage().nbytes() == 4 for scale in kept)


def test_no_gradient_goes_through_a_scale() -> None:
    output = keras.ops.ones((3, SAMPLES, 2))
    (through,) = gradients(lambda tensors: keras.ops.sum(tensors[0]) + scale_of(tensors[0]), [output])
    np.testing.assert_array_equal(numbers(through), 1.0)


def test_a_ring_has_a_length() -> None:
    with pytest.raises(ValueError, match="`steps` must be at least 1. Received: steps=0"):
        ActivationScales([], steps=0)

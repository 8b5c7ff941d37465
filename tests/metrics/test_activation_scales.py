import keras
import numpy as np
import pytest

from kseparation.layers.output_watch import called_layers
from kseparation.metrics.activation_scales import ActivationScales
from kseparation.training import GuardedOptimizer
from tests.on_backend import numbers
from tests.tiny_separator import SAMPLES, fit, tiny_batches, tiny_separator


def test_rows_are_root_mean_squares_of_the_first_example_and_the_oldest_go() -> None:
    scales = ActivationScales(["a", "b"], steps=3)
    for number in range(5):
        outputs = {"a": keras.ops.array([[3.0 * number, 4.0 * number], [100.0, 100.0]])}
        scales.update_state(outputs)
    np.testing.assert_allclose(scales.last(3), [[np.sqrt(12.5) * number, 0] for number in (2, 3, 4)], rtol=1e-6)
    np.testing.assert_allclose(scales.last(1), [[np.sqrt(12.5) * 4, 0]], rtol=1e-6)
    scales.reset_state()
    assert int(numbers(scales.result())) == 5 and len(scales.last(9)) == 3


def test_what_is_not_finite_stays_so() -> None:
    scales = ActivationScales(["a"], steps=2)
    scales.update_state({"a": keras.ops.array([[np.inf, 1.0]])})
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
    np.testing.assert_allclose(rows[:, 0], [np.sqrt(np.mean(np.square(feature[0]))) for feature in features], rtol=1e-4)
    assert (rows[:, 1] > 0).all()


def test_a_ring_has_a_length() -> None:
    with pytest.raises(ValueError, match="`steps` must be at least 1. Received: steps=0"):
        ActivationScales([], steps=0)

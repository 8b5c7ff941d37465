"""Dense layers one behind the other."""

import keras
import numpy as np
import pytest

from kseparation.layers import DenseStack
from tests.on_backend import compute, numbers


def test_it_is_dense_layers_with_rectifiers_between():
    layer = DenseStack((4, 3), 2)
    features = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    found = compute(layer, features)
    expected = features
    for number, dense in enumerate(layer.layers):
        expected = expected @ numbers(dense.kernel) + numbers(dense.bias)
        expected = np.maximum(expected, 0) if number < 2 else expected
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert layer.last is layer.layers[2]


def test_features_are_dropped_in_training_alone():
    layer, features = DenseStack((400,), 400, dropout=0.5), np.ones((1, 3), "float32")
    layer.build(features.shape)
    assert not np.array_equal(numbers(layer(features, training=True)), numbers(layer(features)))
    np.testing.assert_array_equal(numbers(layer(features)), numbers(layer(features)))
    assert DenseStack((), 3, dropout=0.5).hidden == ()


def test_it_starts_the_same_from_the_same_seed():
    def kernels(seed):
        keras.utils.set_random_seed(seed)
        layer = DenseStack((4,), 2)
        layer.build((None, 3))
        return np.concatenate([numbers(weight).ravel() for weight in layer.weights])

    assert np.array_equal(kernels(1), kernels(1)) and not np.array_equal(kernels(1), kernels(2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(((4, 0), 2), "`hidden` and `units` need numbers from 1 on. Received: hidden=(4, 0), units=2"), (((4,), 2, 1.0), "`dropout` must be at least 0 and below 1. Received: dropout=1.0")],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(ValueError) as error:
        DenseStack(*arguments)
    assert words in str(error.value)

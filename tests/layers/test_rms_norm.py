"""The formula of the root-mean-square norm, and silence."""

import keras
import numpy as np

from kseparation.layers import RMSNorm
from tests.on_backend import compute, gradient_of, numbers, read_in_half
from tests.random_weights import layer_weights, randomize
from tests.reference import network


def test_is_the_formula_at_every_loudness():
    draw = np.random.default_rng(0)
    features = (draw.standard_normal((3, 4, 6)) * 10.0 ** np.array([-8, 0, 8])[:, None, None]).astype("float32")
    layer = RMSNorm()
    layer.build(features.shape)
    weights = layer_weights(randomize(layer))
    np.testing.assert_allclose(compute(layer, features), network.rms_norm(features.astype("float64"), weights["gamma"]), rtol=1e-5)


def test_silence_stays_silent_with_a_finite_gradient():
    layer, silence = RMSNorm(), np.zeros((2, 6), "float32")
    layer.build(silence.shape)
    assert np.all(compute(layer, silence) == 0)
    assert np.all(np.isfinite(gradient_of(lambda x: keras.ops.sum(layer(x)), silence)))


def test_in_half_precision_it_still_counts_in_single():
    """Squares of 300 are beyond what float16 holds."""
    features = np.full((2, 6), 300.0, "float16")
    layer = RMSNorm(dtype="mixed_float16")
    layer.build(features.shape)
    np.testing.assert_allclose(compute(layer, features).astype("float32"), np.ones((2, 6)), rtol=2e-3)


def test_its_gain_is_read_in_single_precision():
    layer = RMSNorm(dtype="mixed_bfloat16")
    layer.build((2, 6))
    gain = randomize(layer).gamma
    np.testing.assert_array_equal(read_in_half(gain), numbers(gain))

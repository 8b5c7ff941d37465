"""Rotary positions by their property, attention and transformer by NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers import RotaryAttention, RotaryTransformer, rotary_attention
from kseparation.layers.rotary_attention import rotate
from kseparation.ops.attention import LONG_SEQUENCE, attend_one_by_one
from tests.on_backend import GradientRecorder, compute
from tests.random_weights import layer_weights, randomize
from tests.reference import network


def noise(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def test_score_depends_on_the_distance_only():
    positions, size = 40, 8
    query, key = noise(size), noise(1, size)[0]
    rows = np.stack([np.tile(part, (positions, 1)) for part in (query, key)])[:, :, None]  # (2, positions, 1, size)
    query, key = compute(rotate, rows)[:, :, 0].astype("float64")
    scores = query @ key.T
    diagonals = [np.diagonal(scores, offset) for offset in range(1 - positions, positions)]
    assert max(np.ptp(diagonal) for diagonal in diagonals) < 1e-4
    assert np.std([diagonal[0] for diagonal in diagonals]) > 0.5


def test_turning_keeps_lengths_and_leaves_position_zero():
    features = noise(2, 50, 3, 6)
    turned = compute(rotate, features)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(features, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(turned[:, 0], features[:, 0])
    np.testing.assert_allclose(turned, network.rotate(features), rtol=0, atol=1e-5)


def attention_weights(weights):
    return {**weights, "gamma": weights["norm/gamma"]}


def test_attention_is_that_of_the_definition():
    sequence = noise(2, 7, 10)
    layer = RotaryAttention(heads=3, head_size=4)
    layer.build(sequence.shape)
    expected = network.rotary_attention(sequence.astype("float64"), attention_weights(layer_weights(randomize(layer))), heads=3)
    np.testing.assert_allclose(compute(layer, sequence), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_transformer_adds_a_feed_forward_network():
    sequence = noise(2, 5, 6)
    layer = RotaryTransformer(heads=2, head_size=4, expansion=3)
    layer.build(sequence.shape)
    weights = layer_weights(randomize(layer))
    attended = network.rotary_attention(sequence.astype("float64"), attention_weights(network.below(weights, "attention")), heads=2)
    feed_forward = [weights[name] for name in ("norm/gamma", "expand", "expand_bias", "contract", "contract_bias")]
    expected = network.feed_forward(attended, *feed_forward)
    np.testing.assert_allclose(compute(layer, sequence), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_a_step_of_training_on_long_sequences_is_that_of_the_plain_attention(policy, tolerance, monkeypatch):
    """Compiled where the backend compiles, with a batch whose size the program does not know. What torch itself takes is its own kernel."""
    x, y = noise(2, LONG_SEQUENCE + 1, 8), noise(1, LONG_SEQUENCE + 1, 8).repeat(2, axis=0)
    gradients = {}
    for attend in (attend_one_by_one, ops.dot_product_attention):
        monkeypatch.setattr(rotary_attention, "attend", attend)
        keras.utils.set_random_seed(0)
        inputs = keras.Input(x.shape[1:])
        model = keras.Model(inputs, RotaryAttention(heads=2, head_size=4, dtype=policy)(inputs))
        model.compile(GradientRecorder(), "mse")
        model.fit(x, y, batch_size=2, epochs=1, shuffle=False, verbose=0)
        gradients[attend] = model.get_weights()
    for one, plain in zip(*gradients.values(), strict=True):
        assert np.abs(plain).max() > 1e-4
        np.testing.assert_allclose(one, plain, rtol=0, atol=tolerance * np.abs(plain).max())


@pytest.mark.parametrize("layer_class", [RotaryAttention, RotaryTransformer])
def test_dropout_acts_in_training_only(layer_class):
    sequence = noise(1, 6, 8)
    layer = layer_class(heads=2, head_size=4, dropout=0.5)
    layer.build(sequence.shape)
    calm = compute(layer, sequence)
    np.testing.assert_array_equal(compute(layer, sequence), calm)
    assert np.abs(compute(lambda x: layer(x, training=True), sequence) - calm).max() > 1e-3


@pytest.mark.parametrize("size", [0, 5])
def test_head_size_must_be_even(size):
    with pytest.raises(ValueError, match=f"`head_size` must be even, .* Received: head_size={size}"):
        RotaryAttention(head_size=size)

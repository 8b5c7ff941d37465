"""Self-attention with rotary positions, and the transformer layer made of it."""

import keras
import numpy as np
from keras import ops

from kseparation.layers.initializers import FanInUniform
from kseparation.layers.rms_norm import RMSNorm
from kseparation.layers.seeded_dropout import seeded_dropout
from kseparation.ops.attention import attend

THETA = 10000.0


def rotate(features):
    """Turns each pair of features by an angle that grows with the position, so that a product of two depends on their distance only.

    Feature `i` is paired with feature `i + size / 2`; the angle of pair `i` at position `n` is `n * 10000 ** (-2 i / size)`.

    Args:
        features: `(..., positions, heads, size)`, `size` even.

    Returns:
        The same shape.

    References: Su et al. 2021, RoFormer (arXiv 2104.09864), equation 34.
    """
    half = features.shape[-1] // 2
    frequencies = THETA ** (-np.arange(half, dtype="float32") / half)
    angles = ops.cast(ops.arange(ops.shape(features)[-3]), "float32")[:, None, None] * ops.convert_to_tensor(frequencies)  # (positions, 1, half)
    cosine, sine = ops.cast(ops.cos(angles), features.dtype), ops.cast(ops.sin(angles), features.dtype)
    first, second = features[..., :half], features[..., half:]
    return ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _dense_weight(layer, inputs, outputs, name):
    return layer.add_weight(shape=(inputs, outputs), initializer=FanInUniform(inputs), name=name)


@keras.saving.register_keras_serializable("kseparation")
class RotaryAttention(keras.layers.Layer):
    """Lets every position of a sequence listen to every other, with rotary positions and a gate per head.

    RMS norm, projection to queries, keys and values, rotary positions, scaled dot product, a sigmoid gate for each head, projection back, residual.

    Args:
        heads: number of heads.
        head_size: features of a head, even.
        dropout: share of the attention output that is dropped in training, 0 to 1.

    Input shape: `(batch, positions, features)`. Output shape: the same.
    """

    def __init__(self, heads: int = 4, head_size: int = 32, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if head_size < 2 or head_size % 2:
            raise ValueError(f"`head_size` must be even, for rotary positions turn pairs. Received: head_size={head_size}")
        self.heads = heads
        self.head_size = head_size
        self.dropout = dropout
        self.norm = RMSNorm(dtype=self.dtype_policy, name="norm")
        self.drop = seeded_dropout(dropout, dtype=self.dtype_policy, name="drop") if dropout else None

    def build(self, input_shape):
        features, inner = input_shape[-1], self.heads * self.head_size
        self.norm.build(input_shape)
        self.query_key_value = _dense_weight(self, features, 3 * inner, "query_key_value")
        self.gate = _dense_weight(self, features, self.heads, "gate")
        self.gate_bias = self.add_weight(shape=(self.heads,), initializer=FanInUniform(features), name="gate_bias")
        self.output_projection = _dense_weight(self, inner, features, "output_projection")

    def call(self, sequence, training=False):
        positions = ops.shape(sequence)[1]
        normed = self.norm(sequence)
        inner = self.heads * self.head_size
        # One product for all: a matrix as narrow as the gate's costs as much time alone as a wide one.
        weights = ops.cast(ops.concatenate([self.query_key_value, self.gate], axis=1), self.compute_dtype)
        projected = ops.matmul(normed, weights)
        turned = rotate(ops.reshape(projected[..., : 2 * inner], (-1, positions, 2 * self.heads, self.head_size)))
        query, key = turned[:, :, : self.heads], turned[:, :, self.heads :]
        value = ops.reshape(projected[..., 2 * inner : 3 * inner], (-1, positions, self.heads, self.head_size))
        if self.compute_dtype == "float16":  # its logits may overflow, and JAX has no such attention on a CPU
            query, key, value = (ops.cast(part, "float32") for part in (query, key, value))
        attended = attend(query, key, value)  # (batch, positions, heads, head_size)
        attended = ops.cast(attended, self.compute_dtype)
        gate = projected[..., 3 * inner :] + ops.cast(self.gate_bias, self.compute_dtype)
        attended = attended * ops.sigmoid(gate)[..., None]
        attended = ops.reshape(attended, (-1, positions, inner))
        projected = ops.matmul(attended, ops.cast(self.output_projection, self.compute_dtype))
        if self.drop is not None:
            projected = self.drop(projected, training=training)
        return sequence + projected

    def compute_output_shape(self, sequence_shape):
        return sequence_shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "head_size": self.head_size, "dropout": self.dropout}


@keras.saving.register_keras_serializable("kseparation")
class RotaryTransformer(keras.layers.Layer):
    """One transformer layer: `RotaryAttention`, then a feed-forward network with exact GELU, both with a residual.

    Args:
        heads: number of attention heads.
        head_size: features of a head, even.
        expansion: width of the feed-forward network in multiples of the features.
        dropout: share dropped in training, 0 to 1.

    Input shape: `(batch, positions, features)`. Output shape: the same.

    References: Lu et al. 2023, Music Source Separation with Band-Split RoPE Transformer (arXiv 2309.02612).
    """

    def __init__(self, heads: int = 4, head_size: int = 32, expansion: int = 2, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.head_size = head_size
        self.expansion = expansion
        self.dropout = dropout
        self.attention = RotaryAttention(heads, head_size, dropout, dtype=self.dtype_policy, name="attention")
        self.norm = RMSNorm(dtype=self.dtype_policy, name="norm")
        self.drop = seeded_dropout(dropout, dtype=self.dtype_policy, name="drop") if dropout else None

    def build(self, input_shape):
        features, hidden = input_shape[-1], input_shape[-1] * self.expansion
        self.attention.build(input_shape)
        self.norm.build(input_shape)
        self.expand = _dense_weight(self, features, hidden, "expand")
        self.expand_bias = self.add_weight(shape=(hidden,), initializer=FanInUniform(features), name="expand_bias")
        self.contract = _dense_weight(self, hidden, features, "contract")
        self.contract_bias = self.add_weight(shape=(features,), initializer=FanInUniform(hidden), name="contract_bias")

    def call(self, sequence, training=False):
        def weight(variable):
            return ops.cast(variable, self.compute_dtype)

        sequence = self.attention(sequence, training=training)
        hidden = ops.matmul(self.norm(sequence), weight(self.expand)) + weight(self.expand_bias)
        hidden = ops.gelu(hidden, approximate=False)
        hidden = ops.matmul(hidden, weight(self.contract)) + weight(self.contract_bias)
        if self.drop is not None:
            hidden = self.drop(hidden, training=training)
        return sequence + hidden

    def compute_output_shape(self, sequence_shape):
        return sequence_shape

    def get_config(self):
        config = {"heads": self.heads, "head_size": self.head_size, "expansion": self.expansion, "dropout": self.dropout}
        return {**super().get_config(), **config}

"""Quantisation without a codebook: each feature is rounded to one of a few levels."""

import math

import keras
import numpy as np
from keras import ops

from kseparation.ops.quantize import straight_through

# Widens the bounded range by this share of it, so that the outermost levels are reached by finite features.
MARGIN = 1e-3


@keras.saving.register_keras_serializable("kseparation")
class FiniteScalarQuantizer(keras.layers.Layer):
    """Bounds each feature with a hyperbolic tangent, rounds it to one of its levels, and counts the combinations as codes.

    There is nothing to learn and so nothing that can die: use it where a codebook of some thousand codes is to stay in use without care. The encoder brings its features to the number of levels.
    Computed in float32 under every dtype policy.

    Args:
        levels: number of values of each feature, each at least 2; 5 and more are recommended. `(8, 5, 5, 5)` gives 1000 codes.

    Attributes:
        codebook_size: product of the levels.

    Input shape: `(..., features)`, as many features as levels. Output shape: the same; values from -1 to 1, and below 1 for an even number of levels, one of which is 0.

    Raises:
        ValueError: a level is below 2, there are 2^31 codes or more, or the input has another number of features.

    Example:

    >>> layer = FiniteScalarQuantizer((8, 5, 5, 5))
    >>> layer.codebook_size, tuple(layer.encode(ops.zeros((2, 3, 4))).shape)
    (1000, (2, 3))

    References: Mentzer et al. 2023, Finite scalar quantization: VQ-VAE made simple (arXiv 2309.15505), section 3 and appendix A.1.
    """

    def __init__(self, levels: tuple[int, ...], **kwargs):
        super().__init__(autocast=False, **kwargs)
        levels = tuple(levels)
        if not levels or min(levels) < 2:
            raise ValueError(f"`levels` must be numbers of at least 2. Received: levels={levels}")
        self.codebook_size = math.prod(levels)
        if self.codebook_size >= 2**31:
            raise ValueError(f"`levels` must give fewer than 2^31 codes. Received: levels={levels}, which gives {self.codebook_size}. Take fewer or smaller levels.")
        self.levels = levels
        # Constants of the rounding, one per feature; NumPy, for a tensor here would belong to one device.
        reach = np.array([(level - 1) * (1 + MARGIN) / 2 for level in levels])
        offset = np.array([0.5 if level % 2 == 0 else 0.0 for level in levels])
        self._constants = {
            "half": np.array([level // 2 for level in levels], "float32"),
            "reach": reach.astype("float32"),
            "offset": offset.astype("float32"),
            "shift": np.arctanh(offset / reach).astype("float32"),
            "basis": np.cumprod([1, *levels[:-1]]).astype("int32"),
            "levels": np.array(levels, "int32"),
        }

    def _constant(self, name):
        return ops.convert_to_tensor(self._constants[name])

    def build(self, input_shape):
        if input_shape[-1] != len(self.levels):
            raise ValueError(f"The input must have one feature for each of the {len(self.levels)} levels. Received: input_shape={tuple(input_shape)}. Put a dense layer in front.")

    def _bounded(self, vectors):
        vectors = ops.cast(vectors, "float32")
        return ops.tanh(vectors + self._constant("shift")) * self._constant("reach") - self._constant("offset")

    def call(self, vectors):
        bounded = self._bounded(vectors)
        return ops.cast(straight_through(bounded, ops.round(bounded)) / self._constant("half"), self.compute_dtype)

    def encode(self, vectors):
        """Returns the code of each vector, int32 `(...)` for `(..., features)`; the first feature counts fastest. One that is not finite gets some code."""
        digits = ops.round(self._bounded(vectors)) + self._constant("half")
        digits = ops.where(ops.isnan(digits), 0.0, digits)
        return ops.sum(ops.cast(digits, "int32") * self._constant("basis"), axis=-1)

    def decode(self, codes):
        """Returns what the layer puts out for these codes, float32 `(..., features)` for integers `(...)`."""
        digits = ops.cast(codes, "int32")[..., None] // self._constant("basis") % self._constant("levels")
        return (ops.cast(digits, "float32") - self._constant("half")) / self._constant("half")

    def compute_output_shape(self, vectors_shape):
        return vectors_shape

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}

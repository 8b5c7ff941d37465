"""Normalisation by the length of the feature vector."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class RMSNorm(keras.layers.Layer):
    """Scales each feature vector to unit root mean square, then by a learned gain per feature.

    `x / max(|x|, 1e-12) * sqrt(features) * gamma` over the last axis, in float32. There is no other epsilon: the length is bounded below only so that
    silence stays silence, with a finite gradient.

    Input shape: `(..., features)`. Output shape: the same.

    References: Zhang and Sennrich 2019, Root Mean Square Layer Normalization (arXiv 1910.07467), equation 4.
    """

    def build(self, input_shape):
        # Half precision would round what float32 counts with.
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma", autocast=False)

    def call(self, features):
        features = ops.cast(features, "float32")
        energy = ops.sum(ops.square(features), axis=-1, keepdims=True)
        # The bound stands inside the root: the derivative of a root at zero is infinite.
        scale = ops.rsqrt(ops.maximum(energy, 1e-24)) * features.shape[-1] ** 0.5
        return ops.cast(features * scale * ops.cast(self.gamma, "float32"), self.compute_dtype)

    def compute_output_shape(self, features_shape):
        return features_shape

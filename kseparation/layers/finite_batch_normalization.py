"""Batch normalisation whose running statistics cannot be poisoned."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class FiniteBatchNormalization(keras.layers.Layer):
    """Batch normalisation that keeps its running statistics where a batch is not finite.

    The usual layer writes the statistics of a bad batch in the forward pass, before any optimizer can reject the step: one NaN sample then spoils every
    later inference. Here the statistics are committed only when all of them are finite. Computed in float32 under every dtype policy.

    Args:
        axis: the axis that is normalised each for itself; the others are averaged over.
        momentum: share of the old running statistics that is kept at each step, 0 to 1.
        epsilon: added to the variance.

    Input shape: any. Output shape: the same.

    References: Ioffe and Szegedy 2015, Batch Normalization (arXiv 1502.03167).
    """

    def __init__(self, axis: int = -1, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[self.axis],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")
        # Statistics and sums of squares leave the range of half precision.
        self.moving_mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="moving_mean", autocast=False)
        self.moving_variance = self.add_weight(
            shape=shape, initializer="ones", trainable=False, name="moving_variance", autocast=False
        )

    def call(self, features, training=False):
        features = ops.cast(features, "float32")
        axis = self.axis % len(features.shape)
        if training:
            axes = [other for other in range(len(features.shape)) if other != axis]
            mean, variance = ops.moments(features, axes=axes)
            self._commit(ops.stop_gradient(mean), ops.stop_gradient(variance))
        else:
            mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        gamma, beta = ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32")
        normalized = ops.batch_normalization(features, mean, variance, axis, beta, gamma, self.epsilon)
        return ops.cast(normalized, self.compute_dtype)

    def _commit(self, mean, variance):
        finite = ops.all(ops.isfinite(mean)) & ops.all(ops.isfinite(variance))
        for variable, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = ops.convert_to_tensor(variable)
            variable.assign(ops.where(finite, self.momentum * old + (1 - self.momentum) * value, old))

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum, "epsilon": self.epsilon}

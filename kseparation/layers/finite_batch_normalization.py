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

    The call also takes `bias`, of the size of the axis: what a layer in front would have added to the features. It is counted without a pass over them.

    References: Ioffe and Szegedy 2015, Batch Normalization (arXiv 1502.03167).
    """

    def __init__(self, axis: int = -1, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(autocast=False, **kwargs)  # which would round `bias`
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[self.axis],)
        # Half precision would round what float32 counts with; statistics and sums of squares leave its range.
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta", autocast=False)
        self.moving_mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="moving_mean", autocast=False)
        self.moving_variance = self.add_weight(
            shape=shape, initializer="ones", trainable=False, name="moving_variance", autocast=False
        )

    def call(self, features, bias=None, training=False):
        features = ops.cast(features, "float32")
        bias = 0.0 if bias is None else ops.cast(bias, "float32")
        axis = self.axis % len(features.shape)
        along = [-1 if other == axis else 1 for other in range(len(features.shape))]
        if training:
            axes = [other for other in range(len(features.shape)) if other != axis]
            mean = ops.mean(features, axis=axes)
            # Counted from the mean: `ops.moments` takes E[x^2] - E[x]^2 on torch, which rounding makes negative. The mean itself is then zero, but keeps its gradient.
            centre = ops.stop_gradient(mean)
            features, mean = features - ops.reshape(centre, along), mean - centre + bias
            variance = ops.mean(ops.square(features), axis=axes)
            self._commit(ops.stop_gradient(centre + bias), ops.stop_gradient(variance))
        else:
            mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        scale, shift = self._scale_and_shift(mean, variance, bias)
        normalized = features * ops.reshape(scale, along) + ops.reshape(shift, along)
        return ops.cast(normalized, self.compute_dtype)

    def of_linear(self, linear, kernel, bias, training=False):
        """Normalises `linear(kernel, bias)`; in inference the scale goes into the kernel and the shift into the bias, which spares two passes over the features.

        Args:
            linear: function of a kernel, filters last, and a bias or None.
            kernel: float32 weight or tensor.
            bias: float32 weight or tensor `(filters,)`.
            training: whether statistics are those of the batch.
        """
        if training:
            return self(linear(kernel, None), bias, training=True)
        scale, shift = self.scale_and_shift(bias)
        return linear(ops.cast(kernel, "float32") * scale, shift)

    def scale_and_shift(self, bias=0.0):
        """What inference multiplies by and adds, two float32 tensors of the size of the axis."""
        moving = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        return self._scale_and_shift(*moving, ops.cast(bias, "float32"))

    def _scale_and_shift(self, mean, variance, bias):
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(variance + self.epsilon)
        return scale, ops.cast(self.beta, "float32") + (bias - mean) * scale

    def _commit(self, mean, variance):
        finite = ops.all(ops.isfinite(mean)) & ops.all(ops.isfinite(variance))
        for variable, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = ops.convert_to_tensor(variable)
            variable.assign(ops.where(finite, self.momentum * old + (1 - self.momentum) * value, old))

    def compute_output_shape(self, features_shape, bias_shape=None):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum, "epsilon": self.epsilon}

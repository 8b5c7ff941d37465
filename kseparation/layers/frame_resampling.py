"""Halving and doubling the number of frames by learned filters that do not overlap, written as matrix products."""

import keras
from keras import ops

from kseparation.layers.finite_batch_normalization import FiniteBatchNormalization
from kseparation.layers.initializers import FanInUniform


@keras.saving.register_keras_serializable("kseparation")
class FrameDownsample(keras.layers.Layer):
    """Joins each pair of frames to one (a convolution over two frames with stride two), then batch normalisation and ReLU.

    Args:
        filters: number of output channels.

    Input shape: `(batch, frames, bins, channels)`, frames even. Output shape: `(batch, frames / 2, bins, filters)`.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.normalization = FiniteBatchNormalization(dtype=self.dtype_policy, name="normalization")

    def build(self, input_shape):
        channels = input_shape[-1]
        # Inference folds the normalisation into kernel and bias, in float32.
        self.kernel = self.add_weight(
            shape=(2, channels, self.filters), initializer=FanInUniform(2 * channels), name="kernel", autocast=False
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer=FanInUniform(2 * channels), name="bias", autocast=False)
        self.normalization.build((None, None, None, self.filters))

    def call(self, features, training=False):
        static = features.shape[1]
        if static is not None and static % 2:  # the reshape would pair the last frame with the first one of the next item
            raise ValueError(f"`features` must have an even number of frames. Received: features of shape {tuple(features.shape)}")
        frames = ops.shape(features)[1]
        pairs = ops.reshape(features, (-1, frames // 2, 2, *features.shape[2:]))

        def join(kernel, bias):
            kernel = ops.cast(kernel, self.compute_dtype)
            joined = ops.matmul(pairs[:, :, 0], kernel[0]) + ops.matmul(pairs[:, :, 1], kernel[1])
            return joined if bias is None else joined + ops.cast(bias, self.compute_dtype)

        return ops.relu(self.normalization.of_linear(join, self.kernel, self.bias, training))

    def compute_output_shape(self, features_shape):
        batch, frames, bins, _ = features_shape
        return batch, None if frames is None else frames // 2, bins, self.filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("kseparation")
class FrameUpsample(keras.layers.Layer):
    """Makes two frames of each (a transposed convolution over two frames with stride two), then batch normalisation and ReLU.

    Args:
        filters: number of output channels.

    Input shape: `(batch, frames, bins, channels)`. Output shape: `(batch, 2 * frames, bins, filters)`.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.normalization = FiniteBatchNormalization(dtype=self.dtype_policy, name="normalization")

    def build(self, input_shape):
        channels = input_shape[-1]
        # PyTorch counts the fan-in of a transposed convolution over its outputs.
        fan_in = 2 * self.filters
        self.kernel = self.add_weight(shape=(2, channels, self.filters), initializer=FanInUniform(fan_in), name="kernel", autocast=False)
        self.bias = self.add_weight(shape=(self.filters,), initializer=FanInUniform(fan_in), name="bias", autocast=False)
        self.normalization.build((None, None, None, self.filters))

    def call(self, features, training=False):
        frames = ops.shape(features)[1]

        def double(kernel, bias):
            kernel = ops.cast(kernel, self.compute_dtype)
            halves = [ops.matmul(features, kernel[0]), ops.matmul(features, kernel[1])]
            doubled = ops.reshape(ops.stack(halves, axis=2), (-1, 2 * frames, features.shape[2], self.filters))
            return doubled if bias is None else doubled + ops.cast(bias, self.compute_dtype)

        return ops.relu(self.normalization.of_linear(double, self.kernel, self.bias, training))

    def compute_output_shape(self, features_shape):
        batch, frames, bins, _ = features_shape
        return batch, None if frames is None else 2 * frames, bins, self.filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}

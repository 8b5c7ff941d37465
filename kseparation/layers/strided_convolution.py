"""Convolutions that halve or double frames and bins, fast on every backend."""

import keras
from keras import ops

from kseparation.layers.initializers import HE_GAIN, FanInUniform

KERNEL_SIZE = 5


class _StrideTwo(keras.layers.Layer):
    """What both share: a kernel of 5 x 5 and a bias."""

    def __init__(self, filters: int, bias: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if filters < 1:
            raise ValueError(f"`filters` must be at least 1. Received: filters={filters}")
        self.filters = filters
        self.start_bias = bias

    def _add_weights(self, kernel_shape, fan_in):
        self.kernel = self.add_weight(shape=kernel_shape, initializer=FanInUniform(fan_in, HE_GAIN), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer=keras.initializers.Constant(self.start_bias), name="bias")

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "bias": self.start_bias}


def _six_by_six(kernel):
    """A kernel of 5 x 5 as `(3, 2, 3, 2, ...)`: three steps of two, with a zero in front."""
    kernel = ops.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    return ops.reshape(kernel, (3, 2, 3, 2, *kernel.shape[2:]))


@keras.saving.register_keras_serializable("kseparation")
class StridedConvolution(_StrideTwo):
    """Two-dimensional convolution with a filter of 5 x 5 that halves frames and bins.

    Each square of 2 x 2 is laid on the channels first, and what is left is a convolution of 3 x 3 without a stride: the gradient of a strided one takes two to four times as
    long on TensorFlow and JAX (`benchmarks/strided_convolution.py` prints the seconds of both forms).

    Args:
        filters: number of output channels.
        bias: start value of the biases.

    Input shape: `(batch, frames, bins, channels)`, frames even; an odd number of bins is padded by one of silence. Output shape: `(batch, frames / 2, bins / 2, filters)`,
    rounded up.
    """

    def build(self, input_shape):
        self._add_weights((KERNEL_SIZE, KERNEL_SIZE, input_shape[-1], self.filters), KERNEL_SIZE**2 * input_shape[-1])

    def call(self, features):
        (batch, frames), (bins, channels) = ops.shape(features)[:2], features.shape[2:]
        if isinstance(frames, int) and frames % 2:
            raise ValueError(f"The number of frames must be even. Received: features of shape {tuple(features.shape)}")
        if bins % 2:
            features = ops.pad(features, ((0, 0), (0, 0), (0, 1), (0, 0)))
        frames, bins = frames // 2, (bins + 1) // 2
        squares = ops.transpose(ops.reshape(features, (batch, frames, 2, bins, 2, channels)), (0, 1, 3, 2, 4, 5))
        squares = ops.reshape(squares, (batch, frames, bins, 4 * channels))
        kernel = ops.transpose(_six_by_six(ops.convert_to_tensor(self.kernel)), (0, 2, 1, 3, 4, 5))
        kernel = ops.reshape(kernel, (3, 3, 4 * channels, self.filters))
        return ops.conv(squares, kernel, padding="same", data_format="channels_last") + ops.convert_to_tensor(self.bias)

    def compute_output_shape(self, features_shape):
        batch, frames, bins, _ = features_shape
        return batch, None if frames is None else frames // 2, None if bins is None else (bins + 1) // 2, self.filters


@keras.saving.register_keras_serializable("kseparation")
class TransposedConvolution(_StrideTwo):
    """Transposed two-dimensional convolution with a filter of 5 x 5 that doubles frames and bins; the mirror image of `StridedConvolution`.

    Written as a convolution of 3 x 3 that makes the four places of each square as channels, which are then spread out.

    Args:
        filters: number of output channels.
        bias: start value of the biases.

    Input shape: `(batch, frames, bins, channels)`. Output shape: `(batch, 2 * frames, 2 * bins, filters)`.
    """

    def build(self, input_shape):
        # A quarter of the filter meets each output.
        self._add_weights((KERNEL_SIZE, KERNEL_SIZE, self.filters, input_shape[-1]), KERNEL_SIZE**2 * input_shape[-1] / 4)

    def call(self, features):
        frames, bins, channels = ops.shape(features)[1], features.shape[2], features.shape[3]
        # The output sees its neighbours in the opposite order.
        kernel = ops.flip(_six_by_six(ops.convert_to_tensor(self.kernel)), axis=(0, 2))
        kernel = ops.reshape(ops.transpose(kernel, (0, 2, 5, 1, 3, 4)), (3, 3, channels, 4 * self.filters))
        squares = ops.conv(features, kernel, padding="same", data_format="channels_last")
        squares = ops.transpose(ops.reshape(squares, (-1, frames, bins, 2, 2, self.filters)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(squares, (-1, 2 * frames, 2 * bins, self.filters)) + ops.convert_to_tensor(self.bias)

    def compute_output_shape(self, features_shape):
        batch, frames, bins, _ = features_shape
        return batch, None if frames is None else 2 * frames, None if bins is None else 2 * bins, self.filters

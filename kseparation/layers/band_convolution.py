"""Convolution with filters of their own for each band, fast on every backend."""

import keras
from keras import ops

from kseparation.layers.initializers import FanInUniform


@keras.saving.register_keras_serializable("kseparation")
class BandConvolution(keras.layers.Layer):
    """Two-dimensional "same" convolution over frames and bins in which each band sees its own channels only.

    It computes what a grouped convolution computes. A native grouped convolution trains 10 to 40 times slower than this layer on TensorFlow's and JAX's CPU
    clients, and is the fastest form on torch; the choice is hidden here (`benchmarks/band_convolution.py` prints the seconds of each form).

    Args:
        filters: number of output channels over all bands; must be a multiple of `bands`.
        kernel_size: odd number of frames and bins that a filter covers.
        bands: number of bands; must divide the number of input channels.

    Input shape: `(batch, frames, bins, channels)`, channels band after band as `BandSplit` gives them.

    Output shape: `(batch, frames, bins, filters)`, band after band.
    """

    def __init__(self, filters: int, kernel_size: int = 3, bands: int = 1, **kwargs):
        super().__init__(**kwargs)
        if bands < 1 or filters < 1 or filters % bands:
            raise ValueError(f"`filters` must be a multiple of `bands`. Received: filters={filters}, bands={bands}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd. Received: kernel_size={kernel_size}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.bands = bands

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.bands:
            raise ValueError(f"`bands` must divide the number of input channels, {channels}. Received: bands={self.bands}")
        self.band_channels = channels // self.bands
        fan_in = self.kernel_size**2 * self.band_channels
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, self.band_channels, self.filters),
            initializer=FanInUniform(fan_in),
            name="kernel",
            autocast=False,  # a normalisation behind it scales kernel and bias in float32 before `convolve` rounds them
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer=FanInUniform(fan_in), name="bias", autocast=False)

    def call(self, features):
        return self.convolve(features, self.kernel, self.bias)

    def convolve(self, features, kernel, bias=None):
        """The convolution with weights of the same shapes that a layer around this one has changed."""
        kernel = ops.cast(kernel, self.compute_dtype)
        bias = None if bias is None else ops.cast(bias, self.compute_dtype)
        # A branch by backend: measured, see the class docstring.
        if keras.backend.backend() == "torch":
            return self._convolve_grouped(features, kernel, bias)
        convolved = self._convolve_bands(features, kernel)
        return convolved if bias is None else convolved + bias

    def _convolve_grouped(self, features, kernel, bias):
        """Torch's grouped kernel is two to three times faster on channels that lie in front, in memory too."""
        import torch  # its own call: Keras would put the channels last in memory

        front, weight = features.permute(0, 3, 1, 2).contiguous(), kernel.permute(3, 2, 0, 1).contiguous()
        convolved = torch.nn.functional.conv2d(front, weight, bias, padding=self.kernel_size // 2, groups=self.bands)
        return convolved.permute(0, 2, 3, 1)

    def _convolve_bands(self, features, kernel):
        if self.bands == 1:
            return ops.conv(features, kernel, padding="same", data_format="channels_last")
        pairs = zip(ops.split(features, self.bands, axis=-1), ops.split(kernel, self.bands, axis=-1), strict=True)
        convolved = [ops.conv(part, kernel, padding="same", data_format="channels_last") for part, kernel in pairs]
        return ops.concatenate(convolved, axis=-1)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size, "bands": self.bands}

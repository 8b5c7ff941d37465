"""The building block of TFC-TDF networks: convolutions over time and frequency with a dense layer over frequency between them."""

import keras
from keras import ops

from kseparation.layers.band_convolution import BandConvolution
from kseparation.layers.finite_batch_normalization import FiniteBatchNormalization
from kseparation.layers.initializers import FanInUniform

# Width of the dense layer's waist as a share of the bins; 8 in TFC-TDF v3 and in Moises-Light.
WAIST_FACTOR = 8


@keras.saving.register_keras_serializable("kseparation")
class BandConvolutionUnit(keras.layers.Layer):
    """`BandConvolution`, batch normalisation and ReLU.

    Args:
        filters: number of output channels over all bands; must be a multiple of `bands`.
        kernel_size: odd number of frames and bins that a filter covers.
        bands: number of bands.

    Input shape: `(batch, frames, bins, channels)`. Output shape: `(batch, frames, bins, filters)`.
    """

    def __init__(self, filters: int, kernel_size: int = 3, bands: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.bands = bands
        self.convolution = BandConvolution(filters, kernel_size, bands, dtype=self.dtype_policy, name="convolution")
        self.normalization = FiniteBatchNormalization(dtype=self.dtype_policy, name="normalization")

    def build(self, input_shape):
        self.convolution.build(input_shape)
        self.normalization.build(self.compute_output_shape(input_shape))

    def call(self, features, training=False):
        convolution = self.convolution

        def convolve(kernel, bias):
            return convolution.convolve(features, kernel, bias)

        return ops.relu(self.normalization.of_linear(convolve, convolution.kernel, convolution.bias, training))

    def compute_output_shape(self, features_shape):
        return *features_shape[:-1], self.filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size, "bands": self.bands}


@keras.saving.register_keras_serializable("kseparation")
class FrequencyDense(keras.layers.Layer):
    """Two dense layers along the frequency axis with a narrow waist, shared by all frames and channels: it learns harmonic patterns across the band.

    Args:
        waist_factor: the waist has `bins / waist_factor` units.

    Input shape: `(batch, frames, bins, channels)`, bins known. Output shape: the same.

    References: Choi et al. 2019, Investigating U-Nets with various intermediate blocks for singing voice separation (arXiv 1912.02591), TDF.
    """

    def __init__(self, waist_factor: int = WAIST_FACTOR, **kwargs):
        super().__init__(**kwargs)
        self.waist_factor = waist_factor
        self.first_normalization = FiniteBatchNormalization(axis=2, dtype=self.dtype_policy, name="first_normalization")
        self.second_normalization = FiniteBatchNormalization(axis=2, dtype=self.dtype_policy, name="second_normalization")

    def build(self, input_shape):
        bins, channels = input_shape[2], input_shape[3]
        waist = bins // self.waist_factor
        if waist < 1:
            raise ValueError(f"`waist_factor` leaves no unit. Received: waist_factor={self.waist_factor}, bins={bins}")
        self.contract = self.add_weight(shape=(bins, waist), initializer=FanInUniform(bins), name="contract")
        # Inference folds the biases into the normalisation, in float32.
        self.contract_bias = self.add_weight(shape=(waist,), initializer=FanInUniform(bins), name="contract_bias", autocast=False)
        self.expand = self.add_weight(shape=(waist, bins), initializer=FanInUniform(waist), name="expand")
        self.expand_bias = self.add_weight(shape=(bins,), initializer=FanInUniform(waist), name="expand_bias", autocast=False)
        self.first_normalization.build((None, None, channels, waist))
        self.second_normalization.build((None, None, channels, bins))

    def call(self, features, training=False):
        turned = ops.transpose(features, (0, 1, 3, 2))  # (batch, frames, channels, bins)
        waist = ops.relu(self._dense(turned, self.contract, self.contract_bias, self.first_normalization, training))
        wide = ops.relu(self._dense(waist, self.expand, self.expand_bias, self.second_normalization, training))
        return ops.transpose(wide, (0, 1, 3, 2))

    def _dense(self, turned, kernel, bias, normalization, training):
        product = ops.matmul(turned, ops.cast(kernel, self.compute_dtype))
        if training:
            return normalization(product + ops.cast(bias, self.compute_dtype), training=True)
        scale, shift = normalization.scale_and_shift()
        # The bias belongs to the bins, scale and shift to the channels: one matrix spares a pass over the features.
        offset = ops.cast(bias, "float32") * scale[:, None] + shift[:, None]
        return product * ops.cast(scale[:, None], self.compute_dtype) + ops.cast(offset, self.compute_dtype)

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "waist_factor": self.waist_factor}


@keras.saving.register_keras_serializable("kseparation")
class TimeFrequencyDenseBlock(keras.layers.Layer):
    """Band-wise convolutions, a residual `FrequencyDense`, as many convolutions again, and a convolved shortcut around all of it.

    Args:
        convolutions: number of convolution units before and after the dense layer, at least 1.
        kernel_size: odd number of frames and bins that a filter covers.
        bands: number of bands; must divide the number of channels.

    Input shape: `(batch, frames, bins, channels)`. Output shape: the same.

    References: Kim et al. 2023, Sound Demixing Challenge 2023 technical report: TFC-TDF-UNet v3 (arXiv 2306.09382); Hung et al. 2025 (arXiv 2510.06785),
    split-and-merge module.
    """

    def __init__(self, convolutions: int = 3, kernel_size: int = 3, bands: int = 1, **kwargs):
        super().__init__(**kwargs)
        if convolutions < 1:
            raise ValueError(f"`convolutions` must be at least 1. Received: convolutions={convolutions}")
        self.convolutions = convolutions
        self.kernel_size = kernel_size
        self.bands = bands
        self.dense = FrequencyDense(dtype=self.dtype_policy, name="dense")

    def build(self, input_shape):
        channels = input_shape[-1]

        def unit(name):
            unit = BandConvolutionUnit(channels, self.kernel_size, self.bands, dtype=self.dtype_policy, name=name)
            unit.build(input_shape)
            return unit

        self.shortcut = unit("shortcut")
        self.before = [unit(f"before_{index}") for index in range(self.convolutions)]
        self.dense.build(input_shape)
        self.after = [unit(f"after_{index}") for index in range(self.convolutions)]

    def call(self, features, training=False):
        shortcut = self.shortcut(features, training=training)
        for unit in self.before:
            features = unit(features, training=training)
        features = features + self.dense(features, training=training)
        for unit in self.after:
            features = unit(features, training=training)
        return features + shortcut

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        config = {"convolutions": self.convolutions, "kernel_size": self.kernel_size, "bands": self.bands}
        return {**super().get_config(), **config}

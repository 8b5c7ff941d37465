"""Equal frequency bands, moved into the channels and back."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class BandSplit(keras.layers.Layer):
    """Cuts the frequency axis into equal bands and stacks the bands on the channels, band after band.

    Bass and treble then lie in different channels of the same position, so that each band gets filters of its own (`BandConvolution`).

    Args:
        bands: number of bands; must divide the number of bins.

    Input shape: `(batch, frames, bins, channels)`.

    Output shape: `(batch, frames, bins / bands, bands * channels)`; channel `band * channels + channel`.

    References: Hung, Pereira and Korzeniowski 2025, Moises-Light (arXiv 2510.06785).
    """

    def __init__(self, bands: int, **kwargs):
        super().__init__(**kwargs)
        self.bands = bands

    def build(self, input_shape):
        if self.bands < 1 or input_shape[2] % self.bands:
            raise ValueError(f"`bands` must divide the number of bins, {input_shape[2]}. Received: bands={self.bands}")

    def call(self, spectrum):
        frames = ops.shape(spectrum)[1]
        _, _, bins, channels = spectrum.shape
        split = ops.reshape(spectrum, (-1, frames, self.bands, bins // self.bands, channels))
        split = ops.transpose(split, (0, 1, 3, 2, 4))  # (batch, frames, bins of a band, bands, channels)
        return ops.reshape(split, (-1, frames, bins // self.bands, self.bands * channels))

    def compute_output_shape(self, spectrum_shape):
        batch, frames, bins, channels = spectrum_shape
        return batch, frames, bins // self.bands, self.bands * channels

    def get_config(self):
        return {**super().get_config(), "bands": self.bands}


@keras.saving.register_keras_serializable("kseparation")
class BandMerge(keras.layers.Layer):
    """Puts bands that were stacked on the channels back to their place on the frequency axis: the inverse of `BandSplit`.

    Args:
        bands: number of bands; must divide the number of channels.

    Input shape: `(batch, frames, bins, bands * channels)`.

    Output shape: `(batch, frames, bins * bands, channels)`.
    """

    def __init__(self, bands: int, **kwargs):
        super().__init__(**kwargs)
        self.bands = bands

    def build(self, input_shape):
        if self.bands < 1 or input_shape[3] % self.bands:
            raise ValueError(f"`bands` must divide the number of channels, {input_shape[3]}. Received: bands={self.bands}")

    def call(self, features):
        frames = ops.shape(features)[1]
        _, _, bins, channels = features.shape
        merged = ops.reshape(features, (-1, frames, bins, self.bands, channels // self.bands))
        merged = ops.transpose(merged, (0, 1, 3, 2, 4))  # (batch, frames, bands, bins of a band, channels)
        return ops.reshape(merged, (-1, frames, self.bands * bins, channels // self.bands))

    def compute_output_shape(self, features_shape):
        batch, frames, bins, channels = features_shape
        return batch, frames, self.bands * bins, channels // self.bands

    def get_config(self):
        return {**super().get_config(), "bands": self.bands}

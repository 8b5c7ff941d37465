"""Moises-Light: a small band-split U-Net with a rotary transformer at its waist."""

import keras
from keras import ops

from kseparation.errors import did_you_mean
from kseparation.layers import (
    BandConvolution,
    BandConvolutionUnit,
    BandMerge,
    BandSplit,
    FrameDownsample,
    FrameUpsample,
    RMSNorm,
    RotaryTransformer,
    TimeFrequencyDenseBlock,
)
from kseparation.layers.initializers import FanInUniform
from kseparation.models.base import Separator
from kseparation.models.moises_light_presets import PRESETS
from kseparation.ops.frames import length_of
from kseparation.ops.stft import inverse_stft, stft

# The masks of so many topmost modelled bins are averaged for all bins above.
TOP_BINS = 32
# Added to the power of a bin, whose mean over the spectrum is 2, before the logarithm.
POWER_FLOOR = 1e-4
OUTPUTS = ("mask", "softmax_mask", "direct")


@keras.saving.register_keras_serializable("kseparation")
class MoisesLight(Separator):
    """Splits a song into stems with a few million parameters.

    The spectrum is cut into equal frequency bands that lie side by side in the channels; band-wise convolutions and dense layers along frequency work at three
    time scales; at the coarsest one, rotary transformers look along time and along frequency in turn. The decoder multiplies by the encoder's features.

    Args:
        stems: names of the stems in the order of the output.
        sample_rate: in Hz.
        channels: number of audio channels.
        segment_samples: length of a training segment in samples.
        window_samples: STFT window in samples.
        hop_samples: STFT hop in samples.
        bins: the lowest so many frequency bins are modelled. Those above come out silent, or, with `softmax_mask`, are divided like the topmost modelled ones.
        bands: number of equal bands; must divide `bins` and `width`.
        width: channels at the finest time scale; each coarser one adds as many.
        levels: number of times that the number of frames is halved, at least 1.
        convolutions: convolution units on each side of a dense layer in the encoder and the waist; the decoder, where only the coarsest level has a block, uses 1.
        transformers: number of transformer pairs (time, frequency) at the waist.
        fold_frames: so many neighbouring frames are stacked on the channels first, which makes everything after it that much cheaper.
        output: `"mask"` multiplies real and imaginary part of the mixture by unbounded real masks, `"softmax_mask"` divides each bin among the stems with masks that
            add up to one, from the logarithm of the magnitudes too; `"direct"` gives the spectrum of each stem itself.
        dropout: share dropped in the transformers in training, 0 to 1.

    Input shape: `(batch, samples, channels)`, any length. Output shape: `(batch, stems, samples, channels)`.

    Example:

    >>> import numpy as np
    >>> model = MoisesLight.from_preset("demo")
    >>> tuple(model(np.zeros((1, 30000, 2), "float32")).shape)
    (1, 4, 30000, 2)

    References: Hung, Pereira and Korzeniowski 2025, Moises-Light (arXiv 2510.06785). The text leaves widths open; where it does, this follows the public
    package `moises-light` 0.1.5.
    """

    source = "arXiv 2510.06785"

    def __init__(
        self,
        stems: tuple[str, ...] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        segment_samples: int = 264600,
        window_samples: int = 6144,
        hop_samples: int = 1024,
        bins: int = 2048,
        bands: int = 4,
        width: int = 56,
        levels: int = 3,
        convolutions: int = 3,
        transformers: int = 5,
        fold_frames: int = 1,
        output: str = "mask",
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(stems, sample_rate, channels, segment_samples, **kwargs)
        sizes = {"window_samples": window_samples, "bands": bands, "width": width, "levels": levels, "convolutions": convolutions, "fold_frames": fold_frames}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        if transformers < 0 or not 0 <= dropout < 1:
            raise ValueError(f"`transformers` must not be negative and `dropout` lie in [0, 1). Received: transformers={transformers}, dropout={dropout}")
        if not 1 <= hop_samples <= window_samples // 2:
            raise ValueError(
                f"`hop_samples` must lie between 1 and half of `window_samples`, else the inverse transform has gaps. "
                f"Received: hop_samples={hop_samples}, window_samples={window_samples}"
            )
        if not 1 <= bins <= window_samples // 2 + 1:
            raise ValueError(f"`bins` must lie between 1 and {window_samples // 2 + 1}, half the window and one. Received: bins={bins}")
        if bins % bands or width % bands:
            raise ValueError(f"`bands` must divide `bins` and `width`. Received: bands={bands}, bins={bins}, width={width}")
        if output not in OUTPUTS:
            raise ValueError(f"`output` is unknown. Received: output={output}. {did_you_mean(output, OUTPUTS)}")
        if output == "softmax_mask" and len(self.stems) < 2:
            raise ValueError(f"`output` softmax_mask divides the mixture among two stems or more. Received: stems={self.stems}. Use mask.")
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.bins = bins
        self.bands = bands
        self.width = width
        self.levels = levels
        self.convolutions = convolutions
        self.transformers = transformers
        self.fold_frames = fold_frames
        self.output_kind = output
        self.stems_add_up = output == "softmax_mask"
        self.dropout = dropout
        self._create_layers()

    def _create_layers(self):
        planes = 2 * self.channels * self.fold_frames
        width, bands = self.width, self.bands

        def block(convolutions, name):
            return TimeFrequencyDenseBlock(convolutions, 3, bands, dtype=self.dtype_policy, name=name)

        self.split = BandSplit(bands, dtype=self.dtype_policy, name="split")
        self.merge = BandMerge(bands, dtype=self.dtype_policy, name="merge")
        self.first = BandConvolutionUnit(width, 3, bands, dtype=self.dtype_policy, name="first")
        self.encoder = [block(self.convolutions, f"encoder_{level}") for level in range(self.levels)]
        self.downsample = [
            FrameDownsample((level + 2) * width, dtype=self.dtype_policy, name=f"downsample_{level}") for level in range(self.levels)
        ]
        self.waist = block(self.convolutions, "waist")
        self.time_transformers = []
        self.frequency_transformers = []
        for index in range(self.transformers):
            for axis, layers in (("time", self.time_transformers), ("frequency", self.frequency_transformers)):
                layers.append(RotaryTransformer(dropout=self.dropout, dtype=self.dtype_policy, name=f"{axis}_transformer_{index}"))
        self.waist_norm = RMSNorm(dtype=self.dtype_policy, name="waist_norm")
        self.upsample = [
            FrameUpsample((level + 1) * width, dtype=self.dtype_policy, name=f"upsample_{level}") for level in range(self.levels)
        ]
        # Only the coarsest level of the decoder has a block: the light decoder of the paper.
        self.decoder = block(1, f"decoder_{self.levels - 1}")
        if self.output_kind == "softmax_mask":
            # So many output planes that a filter of 3 x 3 would take a quarter of the training step.
            outputs, kernel_size = len(self.stems) * self.channels * self.fold_frames, 1
        else:
            outputs, kernel_size = planes, 3
        self.last = BandConvolution(bands * outputs, kernel_size, bands, dtype=self.dtype_policy, name="last")

    def build(self, input_shape):
        if input_shape[-1] != self.channels:
            raise ValueError(f"The model takes {self.channels} audio channels. Received: a mixture of shape {tuple(input_shape)}")
        band_bins, width = self.bins // self.bands, self.width
        planes = (3 if self.output_kind == "softmax_mask" else 2) * self.channels * self.fold_frames

        def shape(channels):
            return (None, None, band_bins, channels)

        self.split.build((None, None, self.bins, planes))
        self.first.build(shape(self.bands * planes))
        for level in range(self.levels):
            self.encoder[level].build(shape((level + 1) * width))
            self.downsample[level].build(shape((level + 1) * width))
        deepest = (self.levels + 1) * width
        self.waist.build(shape(deepest))
        for transformer in (*self.time_transformers, *self.frequency_transformers):
            transformer.build((None, None, deepest))
        self.waist_norm.build(shape(deepest))
        for level in reversed(range(self.levels)):
            self.upsample[level].build(shape((level + 2) * width))
        self.decoder.build(shape(self.levels * width))
        self.last.build(shape(width))
        self.merge.build(shape(self.last.filters))
        if self.output_kind != "softmax_mask" and len(self.stems) > 1:
            fan_in = 2 * self.channels
            stem_planes = len(self.stems) * 2 * self.channels
            # Half precision would round what float32 counts with: `autocast=False` of the model itself spares its inputs only.
            self.stem_head = self.add_weight(shape=(fan_in, stem_planes), initializer=FanInUniform(fan_in), name="stem_head", autocast=False)
            self.stem_head_bias = self.add_weight(shape=(stem_planes,), initializer=FanInUniform(fan_in), name="stem_head_bias", autocast=False)
        self.built = True

    def call(self, mixture, training=False):
        mixture = ops.cast(mixture, "float32")
        samples = length_of(mixture, 1)
        real, imag, padded = self._analyse(mixture, samples)
        modelled = real[..., : self.bins], imag[..., : self.bins]
        planes, mean, deviation = self._normalized_planes(*modelled)
        decoded = self._network(ops.cast(planes, self.compute_dtype), training)
        decoded = ops.cast(decoded, "float32")
        if self.output_kind == "softmax_mask":
            stems = self._synthesise(*self._divide(decoded, real, imag), padded, samples)
            # The last stem is what the others leave of the mixture: one inverse transform less, and they add up to the last bit but rounding.
            return ops.concatenate([stems, mixture[:, None] - ops.sum(stems, axis=1, keepdims=True)], axis=1)
        real, imag = self._with_silent_top(*self._stem_planes(decoded, *modelled, mean, deviation))
        return self._synthesise(real, imag, padded, samples)

    def _analyse(self, mixture, samples):
        """Spectrum `(batch, channels, frames, all bins)` of the mixture, padded so that the number of frames suits every level."""
        multiple = self.fold_frames * 2**self.levels
        # A full hop is appended even where none is missing, as in the reference, so that the last sample is inside.
        frames = -(-(samples // self.hop_samples + 2) // multiple) * multiple
        padded = (frames - 1) * self.hop_samples
        mixture = ops.pad(ops.transpose(mixture, (0, 2, 1)), ((0, 0), (0, 0), (0, padded - samples)))
        real, imag = stft(mixture, self.window_samples, self.hop_samples)
        scale = self.window_samples**-0.5
        return real * scale, imag * scale, padded

    def _normalized_planes(self, real, imag):
        """Real and imaginary part of each channel as planes of zero mean and unit deviation, `(batch, frames, bins, planes)`."""
        planes = ops.stack([real, imag], axis=2)  # (batch, channels, 2, frames, bins)
        mean = ops.mean(planes, axis=(1, 2, 3, 4), keepdims=True)
        centred = planes - mean
        count = 2 * self.channels * self.bins * ops.cast(ops.shape(real)[2], "float32")
        variance = ops.sum(ops.square(centred), axis=(1, 2, 3, 4), keepdims=True) / (count - 1)
        # Silence has deviation zero, where the derivative of the root is infinite; the mixture needs no gradient.
        deviation = ops.stop_gradient(ops.sqrt(variance))
        planes = ops.transpose(centred / (deviation + 1e-5), (0, 3, 4, 1, 2))
        planes = ops.reshape(planes, (-1, ops.shape(real)[2], self.bins, 2 * self.channels))
        if self.output_kind == "softmax_mask":  # shares depend on magnitudes, which are hard to learn from planes
            planes = ops.concatenate([planes, self._log_magnitudes(centred / (deviation + 1e-5))], axis=-1)
        return planes, mean, deviation

    def _log_magnitudes(self, planes):
        """Logarithm of the power of each channel, of zero mean and unit deviation, `(batch, frames, bins, channels)`."""
        power = ops.sum(ops.square(planes), axis=2)  # (batch, channels, frames, bins)
        logarithm = ops.log(power + POWER_FLOOR)
        centred = logarithm - ops.mean(logarithm, axis=(1, 2, 3), keepdims=True)
        variance = ops.mean(ops.square(centred), axis=(1, 2, 3), keepdims=True)
        return ops.transpose(centred * ops.rsqrt(variance + 1e-5), (0, 2, 3, 1))

    def _network(self, planes, training):
        """Normalised planes `(batch, frames, bins, planes)` to output planes of the same layout."""
        features = self.first(self._fold(self.split(planes)), training=training)
        skips = []
        for encoder, downsample in zip(self.encoder, self.downsample, strict=True):
            features = encoder(features, training=training)
            skips.append(features)
            features = downsample(features, training=training)
        features = self.waist(features, training=training)
        for time, frequency in zip(self.time_transformers, self.frequency_transformers, strict=True):
            features = self._along_frames(features, time, training)
            features = self._along_bins(features, frequency, training)
        features = self.waist_norm(features)
        for level in reversed(range(self.levels)):
            features = self.upsample[level](features, training=training) * skips[level]
            if level == self.levels - 1:
                features = self.decoder(features, training=training)
        return self.merge(self._unfold(self.last(features)))

    def _along_frames(self, features, transformer, training):
        frames, bins, channels = ops.shape(features)[1], features.shape[2], features.shape[3]
        turned = _sequences(ops.transpose(features, (0, 2, 1, 3)), frames)
        turned = ops.reshape(transformer(turned, training=training), (-1, bins, frames, channels))
        return ops.transpose(turned, (0, 2, 1, 3))

    def _along_bins(self, features, transformer, training):
        frames, bins, channels = ops.shape(features)[1], features.shape[2], features.shape[3]
        flat = transformer(_sequences(features, bins), training=training)
        return ops.reshape(flat, (-1, frames, bins, channels))

    def _fold(self, features):
        """Stacks neighbouring frames on the channels of their band."""
        if self.fold_frames == 1:
            return features
        fold, frames, bins, channels = self.fold_frames, ops.shape(features)[1], features.shape[2], features.shape[3]
        folded = ops.reshape(features, (-1, frames // fold, fold, bins, self.bands, channels // self.bands))
        folded = ops.transpose(folded, (0, 1, 3, 4, 2, 5))  # (batch, frames, bins, bands, fold, channels of a band)
        return ops.reshape(folded, (-1, frames // fold, bins, fold * channels))

    def _unfold(self, features):
        """The inverse of `_fold`."""
        if self.fold_frames == 1:
            return features
        fold, frames, bins, channels = self.fold_frames, ops.shape(features)[1], features.shape[2], features.shape[3]
        unfolded = ops.reshape(features, (-1, frames, bins, self.bands, fold, channels // self.bands // fold))
        unfolded = ops.transpose(unfolded, (0, 1, 4, 2, 3, 5))  # (batch, frames, fold, bins, bands, channels of a band)
        return ops.reshape(unfolded, (-1, frames * fold, bins, channels // fold))

    def _stem_planes(self, decoded, real, imag, mean, deviation):
        """Real and imaginary part of each stem, `(batch, stems, channels, frames, bins)`, by mask or directly."""
        if len(self.stems) > 1:
            head, bias = ops.cast(self.stem_head, "float32"), ops.cast(self.stem_head_bias, "float32")
            decoded = ops.matmul(decoded, head) + bias
        frames = ops.shape(decoded)[1]
        planes = ops.reshape(decoded, (-1, frames, self.bins, len(self.stems), self.channels, 2))
        planes = ops.transpose(planes, (5, 0, 3, 4, 1, 2))  # (2, batch, stems, channels, frames, bins)
        if self.output_kind == "direct":
            scaled = planes * ops.squeeze(deviation, 2)[:, None] + ops.squeeze(mean, 2)[:, None]
            return scaled[0], scaled[1]
        return planes[0] * real[:, None], planes[1] * imag[:, None]

    def _divide(self, decoded, real, imag):
        """Divides each bin of the mixture among the stems; all but the last, `(batch, stems - 1, channels, frames, all bins)`."""
        frames = ops.shape(decoded)[1]
        logits = ops.reshape(decoded, (-1, frames, self.bins, len(self.stems), self.channels))
        logits = ops.transpose(logits, (0, 3, 4, 1, 2))
        # Written out because the softmax kernel of one backend refuses tensors of this rank.
        weights = ops.exp(logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True)))
        masks = weights[:, :-1] / ops.sum(weights, axis=1, keepdims=True)
        missing = self.window_samples // 2 + 1 - self.bins
        if missing:
            top = ops.mean(masks[..., -TOP_BINS:], axis=-1, keepdims=True)
            masks = ops.concatenate([masks, ops.repeat(top, missing, axis=-1)], axis=-1)
        return masks * real[:, None], masks * imag[:, None]

    def _with_silent_top(self, *planes):
        missing = self.window_samples // 2 + 1 - self.bins
        return [ops.pad(plane, ((0, 0), (0, 0), (0, 0), (0, 0), (0, missing))) for plane in planes]

    def _synthesise(self, real, imag, padded, samples):
        scale = self.window_samples**0.5
        audio = inverse_stft(real * scale, imag * scale, self.window_samples, self.hop_samples, padded)
        return ops.transpose(audio[..., :samples], (0, 1, 3, 2))

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Returns the names that `from_preset` takes."""
        return tuple(PRESETS)

    @classmethod
    def from_preset(cls, preset: str, **arguments) -> "MoisesLight":
        """Builds a preset of known size.

        Args:
            preset: one of `kseparation.models.moises_light_presets.PRESETS`.
            arguments: constructor arguments that replace those of the preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"`preset` is unknown. Received: preset={preset}. {did_you_mean(preset, PRESETS)}")
        return cls(**{**PRESETS[preset], **arguments})

    def get_config(self):
        return {
            **super().get_config(),
            "window_samples": self.window_samples,
            "hop_samples": self.hop_samples,
            "bins": self.bins,
            "bands": self.bands,
            "width": self.width,
            "levels": self.levels,
            "convolutions": self.convolutions,
            "transformers": self.transformers,
            "fold_frames": self.fold_frames,
            "output": self.output_kind,
            "dropout": self.dropout,
        }


def _sequences(features, length):
    """Lays out features as `(sequences, length, channels)`. Torch would keep the view of a transposed tensor, which slows down all that follows; flattened, it is copied once."""
    channels = features.shape[-1]
    return ops.reshape(ops.reshape(features, (-1, channels)), (-1, length, channels))

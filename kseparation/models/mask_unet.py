"""Separation by a mask on the magnitudes: a U-Net looks at the spectrogram of the mixture, its phase is kept."""

import math
from typing import Literal

import keras
import numpy as np
from keras import ops

from kseparation.errors import did_you_mean
from kseparation.layers import SpectrogramUNet
from kseparation.models.base import Separator
from kseparation.ops.frames import length_of
from kseparation.ops.magnitude import safe_magnitude
from kseparation.ops.stft import inverse_stft, stft

OBJECTIVES = ("magnitude", "ratio_mask", "direct")
DOMAINS = ("linear", "log")
DISTANCES = ("mse", "l1", "unweighted_mse", "unweighted_l1")
# The logarithm of a magnitude from silence to 25 dB above a sine of full scale in a window of 8192, put on [0, 1].
LOG_FLOOR, LOG_CEILING = -12.0, 6.0
# The mean mask that a bias may stand for: a stem that is not heard in the first examples will be heard later.
BIAS_SHARES = (0.01, 0.99)
RATIO_FLOOR = 1e-8


def to_domain(magnitude, domain: str):
    """Returns magnitudes as a network sees them: as they are, or their logarithm on [0, 1]."""
    if domain == "linear":
        return magnitude
    logarithm = ops.log(ops.maximum(magnitude, math.exp(LOG_FLOOR)))
    return (ops.minimum(logarithm, LOG_CEILING) - LOG_FLOOR) / (LOG_CEILING - LOG_FLOOR)


def from_domain(value, domain: str):
    """The inverse of `to_domain`; the floor of the logarithm is silence."""
    if domain == "linear":
        return value
    return ops.exp(value * (LOG_CEILING - LOG_FLOOR) + LOG_FLOOR) - math.exp(LOG_FLOOR)


def ratio_mask(stem, mixture):
    """Returns the share of a stem in the mixture, in [0, 1], both in the same domain."""
    return ops.clip(stem / (mixture + RATIO_FLOOR), 0.0, 1.0)


@keras.saving.register_keras_serializable("kseparation")
class MaskUNet(Separator):
    """Finds each stem by a mask on the magnitudes of the mixture, painted by a U-Net of its own.

    The classical recipe: cheap, robust, and limited by the phase of the mixture. The network trains on spectrograms, not on waveforms: `objective` says what it is
    compared with. What the network sees and what it is compared with must live in the same domain, or the two run apart where it is silent.

    Args:
        stems: names of the stems in the order of the output; each has its own U-Net.
        sample_rate: in Hz.
        channels: number of audio channels; they are the feature maps of the input and of the mask.
        segment_samples: length of a training segment in samples.
        window_samples: STFT window in samples.
        hop_samples: STFT hop in samples, at most half the window.
        bins: `"crop"` takes as many of the lowest bins as the levels divide, `"pad"` appends silent ones, a number takes so many; bins above come out silent. `"all"` takes
            every bin as it is: the odd sizes of the levels do not meet.
        filters: channels of the levels of each U-Net, finest first.
        variant: `"jansson"` or `"spleeter"`, see `SpectrogramUNet`; the stems of the second, outside a training, share each bin by their powers.
        dropout: share of features dropped in the three coarsest levels of the decoder in training, in [0, 1).
        objective: `"magnitude"` compares mask times mixture with the stem, `"ratio_mask"` the mask with the stem's share of the mixture, `"direct"` has no mask:
            the network paints the stem's spectrogram.
        domain: of the magnitudes that the network sees: `"linear"` or `"log"` (on [0, 1]).
        target_domain: of the magnitudes that it is compared with; None is the same as `domain`.
        loss: `"mse"` or `"l1"`; on a ratio mask each bin counts by the energy of the mixture there, `"unweighted_mse"` and `"unweighted_l1"` count all alike.
        output_bias: start value of the last bias; `"from_data"` takes the one whose mask is the mean share of the stem in the first training examples, each bin counted as in
            the loss.

    Input shape: `(batch, samples, channels)`, any length. Output shape: `(batch, stems, samples, channels)`.

    Example:

    >>> model = MaskUNet.from_preset("small", stems=("vocals",))
    >>> tuple(model(np.zeros((1, 30000, 2), "float32")).shape)
    (1, 1, 30000, 2)

    References: Jansson et al. 2017, Singing voice separation with deep U-Net convolutional networks (ISMIR); Hennequin et al. 2020, Spleeter (JOSS 5, 2154).
    """

    source = "Jansson et al., ISMIR 2017"

    def __init__(
        self,
        stems: tuple[str, ...] = ("vocals",),
        sample_rate: int = 44100,
        channels: int = 2,
        segment_samples: int = 264600,
        window_samples: int = 1024,
        hop_samples: int = 256,
        bins: Literal["crop", "pad", "all"] | int = "crop",
        filters: tuple[int, ...] = (16, 32, 64, 128, 256, 512),
        variant: str = "jansson",
        dropout: float = 0.5,
        objective: str = "magnitude",
        domain: str = "linear",
        target_domain: str | None = None,
        loss: str = "mse",
        output_bias: Literal["from_data"] | float = 0.0,
        **kwargs,
    ):
        super().__init__(stems, sample_rate, channels, segment_samples, **kwargs)
        if window_samples < 2 or not 1 <= hop_samples <= window_samples // 2:
            raise ValueError(
                f"`hop_samples` must lie between 1 and half of `window_samples`, else the inverse transform has gaps. "
                f"Received: hop_samples={hop_samples}, window_samples={window_samples}"
            )
        choices = {"objective": (objective, OBJECTIVES), "domain": (domain, DOMAINS), "target_domain": (target_domain or domain, DOMAINS), "loss": (loss, DISTANCES)}
        for name, (value, valid) in choices.items():
            if value not in valid:
                raise ValueError(f"`{name}` is unknown. Received: {name}={value}. {did_you_mean(value, valid)}")
        if isinstance(output_bias, str) and output_bias != "from_data":
            raise ValueError(f"`output_bias` must be a number or from_data. Received: output_bias={output_bias}")
        if objective == "direct" and output_bias == "from_data":
            raise ValueError("`output_bias` from_data is the mean mask, and a direct output has none. Received: objective=direct. Give a number.")
        if objective != "ratio_mask" and loss.startswith("unweighted"):
            raise ValueError(f"`loss` counts the bins of a ratio mask only. Received: loss={loss}, objective={objective}. Take {loss.removeprefix('unweighted_')}.")
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.bins = bins
        self.filters = tuple(filters)
        self.variant = variant
        self.dropout = dropout
        self.objective = objective
        self.domain = domain
        self.target_domain = target_domain
        self.loss_kind = loss
        self.output_bias = output_bias
        self._modelled, self._padded_bins = self._bin_numbers()
        activation = "sigmoid" if objective != "direct" or self._compared_domain == "log" else "softplus"
        self.networks = [
            SpectrogramUNet(filters, channels, variant, activation, 0.0 if output_bias == "from_data" else output_bias, dropout, dtype=self.dtype_policy, name=f"unet_{stem}")
            for stem in self.stems
        ]

    @property
    def _compared_domain(self):
        return self.target_domain or self.domain

    def _bin_numbers(self):
        """Bins that are taken from the spectrum, and bins that the network sees."""
        every, multiple = self.window_samples // 2 + 1, 2 ** len(self.filters)
        if self.bins == "all":
            return every, every
        if self.bins == "pad":
            return every, -(-every // multiple) * multiple
        taken = every // multiple * multiple if self.bins == "crop" else self.bins
        if isinstance(taken, str) or not 1 <= taken <= every or taken % multiple:
            raise ValueError(
                f"`bins` must be crop, pad, all, or a multiple of {multiple} (two for each level of `filters`) up to {every}. "
                f"Received: bins={self.bins}, window_samples={self.window_samples}"
            )
        return taken, taken

    def build(self, input_shape):
        if input_shape[-1] != self.channels:
            raise ValueError(f"The model takes {self.channels} audio channels. Received: a mixture of shape {tuple(input_shape)}")
        for network in self.networks:
            network.build((None, None, self._padded_bins, self.channels))
        self.built = True

    def call(self, mixture, training=False):
        mixture = ops.cast(mixture, "float32")
        samples = length_of(mixture, 1)
        real, imag = self._analyse(mixture, samples)
        magnitude = safe_magnitude(real, imag)
        painted = self._painted(magnitude, training)
        self.hand_over((painted, magnitude))
        gains = self._gains(painted, magnitude)
        if self.variant == "spleeter" and len(self.stems) > 1 and not training:
            gains = _shared(gains)
        return self._synthesise(gains * real[:, None], gains * imag[:, None], samples)

    def _analyse(self, audio, samples):
        """Real and imaginary part `(..., frames, modelled bins, channels)`, frames padded to what the levels divide."""
        multiple = 2 ** len(self.filters)
        frames = -(-(samples // self.hop_samples + 2) // multiple) * multiple
        signal = ops.moveaxis(audio, -1, -2)  # (..., channels, samples)
        padding = [(0, 0)] * (len(signal.shape) - 1) + [(0, (frames - 1) * self.hop_samples - samples)]
        parts = stft(ops.pad(signal, padding), self.window_samples, self.hop_samples)
        scale = self.window_samples**-0.5
        return [ops.moveaxis(part[..., : self._modelled], -3, -1) * scale for part in parts]

    def _painted(self, magnitude, training):
        """What the networks make of the mixture: masks or spectrograms, `(batch, stems, frames, modelled bins, channels)`."""
        seen = ops.pad(to_domain(magnitude, self.domain), ((0, 0), (0, 0), (0, self._padded_bins - self._modelled), (0, 0)))
        seen = ops.cast(seen, self.compute_dtype)
        painted = [network(seen, training=training) for network in self.networks]
        return ops.stack(painted, axis=1)[:, :, :, : self._modelled]

    def _gains(self, painted, magnitude):
        """What each bin of the mixture is multiplied by, of the shape of `painted`."""
        domain = self._compared_domain
        if self.objective != "direct" and domain == "linear":
            return painted
        magnitude = magnitude[:, None]
        estimate = painted if self.objective == "direct" else painted * to_domain(magnitude, domain)
        # Where the mixture is silent there is no phase to give to an estimate.
        heard = magnitude > RATIO_FLOOR
        return ops.where(heard, from_domain(estimate, domain) / ops.where(heard, magnitude, 1.0), 0.0)

    def _synthesise(self, real, imag, samples):
        missing = self.window_samples // 2 + 1 - self._modelled
        scale = self.window_samples**0.5
        parts = [ops.pad(ops.moveaxis(part, -1, -3), [(0, 0)] * 4 + [(0, missing)]) * scale for part in (real, imag)]
        padded = (ops.shape(real)[2] - 1) * self.hop_samples
        audio = inverse_stft(*parts, self.window_samples, self.hop_samples, padded)
        return ops.moveaxis(audio, -2, -1)[:, :, :samples]

    def objective_names(self):
        return [f"{self.objective}/{stem}" for stem in self.stems]

    def objective_parts(self, mixture, stems):
        """Compares what the networks painted in the forward pass of this step with the stems; the parts add up to the mean over the stems."""
        painted, magnitude = self.handed_over() or self._looked_at(mixture)
        domain = self._compared_domain
        target, whole = to_domain(self._magnitude(stems), domain), to_domain(magnitude, domain)[:, None]
        if self.objective == "ratio_mask":
            target = ratio_mask(target, whole)
        elif self.objective == "magnitude":
            painted = painted * whole
        difference = painted - target
        distance = ops.square(difference) if self.loss_kind.endswith("mse") else ops.absolute(difference)
        if self.objective == "ratio_mask":
            distance = distance * self._weights_of_shares(magnitude)
        means = ops.mean(distance, axis=(0, 2, 3, 4)) / len(self.stems)
        return {name: means[index] for index, name in enumerate(self.objective_names())}

    def _looked_at(self, mixture):
        magnitude = self._magnitude(mixture)
        return self._painted(magnitude, training=False), magnitude

    def _magnitude(self, audio):
        return safe_magnitude(*self._analyse(ops.cast(audio, "float32"), length_of(audio, -2)))

    def _weights_of_shares(self, magnitude):
        """What each bin of a ratio mask counts, `(batch, 1, frames, bins, channels)`: the energy of the mixture, with the mean one in each segment; silence counts nothing."""
        if self.loss_kind.startswith("unweighted"):
            return ops.ones_like(magnitude)[:, None]
        energy = ops.square(magnitude)[:, None]
        return energy / (ops.mean(energy, axis=(2, 3, 4), keepdims=True) + RATIO_FLOOR)

    def known_failures(self):
        if self._compared_domain == self.domain:
            return {}
        consequence = (
            "most of its bins, nearly silent, ask for a share that it cannot see"
            if self.objective == "ratio_mask"
            else "the bins that decide the loss are not those that stand out in what it sees"
        )
        return {"target_domain": f"the network sees {self.domain} magnitudes and is compared with {self._compared_domain} ones, so that {consequence}"}

    def start_from_data(self, examples):
        if self.output_bias != "from_data":
            return {}
        shares, weights = 0.0, 0.0
        for mixture, stems in examples:
            share, weight = (ops.convert_to_numpy(value).astype("float64") for value in self._shares(ops.convert_to_tensor(mixture), ops.convert_to_tensor(stems)))
            shares, weights = shares + (share * weight).sum(axis=(0, 2, 3, 4)), weights + weight.sum()
        started = {}
        for stem, network, share in zip(self.stems, self.networks, map(float, shares / max(weights, 1e-30)), strict=True):
            odds = np.clip(share, *BIAS_SHARES)
            bias = float(np.log(odds / (1 - odds)))
            network.start_at(bias)
            started |= {f"mean_mask/{stem}": share, f"output_bias/{stem}": bias}
        return started

    def _shares(self, mixture, stems):
        """Share of each stem in each bin, and what the bin counts in the loss."""
        magnitude = self._magnitude(mixture)
        whole = to_domain(magnitude, self._compared_domain)[:, None]
        share = ratio_mask(to_domain(self._magnitude(stems), self._compared_domain), whole)
        if self.objective == "ratio_mask":
            return share, self._weights_of_shares(magnitude)
        return share, whole if self.loss_kind == "l1" else ops.square(whole)  # the share times these is what the loss compares

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Returns the names that `from_preset` takes."""
        return tuple(PRESETS)

    @classmethod
    def from_preset(cls, preset: str, **arguments) -> "MaskUNet":
        """Builds a preset of known size.

        Args:
            preset: `jansson`, `spleeter` or `small`.
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
            "filters": self.filters,
            "variant": self.variant,
            "dropout": self.dropout,
            "objective": self.objective,
            "domain": self.domain,
            "target_domain": self.target_domain,
            "loss": self.loss_kind,
            "output_bias": self.output_bias,
        }


def _shared(gains):
    """Gains by which the stems share each bin like their powers, of the shape of `gains`; a bin in which nothing is found is shared alike."""
    powers = ops.square(gains) + RATIO_FLOOR
    return powers / ops.sum(powers, axis=1, keepdims=True)


PRESETS = {
    # The network and the loss of the paper, whose spectrograms are scaled to [0, 1] song by song. Its hop of three quarters of a window leaves samples that hardly any
    # frame hears, so it is half a window here.
    "jansson": {"sample_rate": 8192, "channels": 1, "segment_samples": 64512, "window_samples": 1024, "hop_samples": 512, "loss": "l1"},
    # Bins up to 11 kHz; without the normalisation that has no effect in the public code. That hands the bins above to the stems too; here they are silent.
    "spleeter": {
        "stems": ("vocals", "drums", "bass", "other"),
        "segment_samples": 522240,
        "window_samples": 4096,
        "hop_samples": 1024,
        "bins": 1024,
        "variant": "spleeter",
        "loss": "l1",
    },
    # Learns on two cores in minutes.
    "small": {"segment_samples": 129024, "window_samples": 2048, "hop_samples": 1024, "filters": (8, 16, 32, 64, 128), "dropout": 0.0},
}

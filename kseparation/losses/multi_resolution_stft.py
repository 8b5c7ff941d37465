"""Difference of magnitude spectra at several window lengths, blind to the phase."""

import keras
from keras import ops

from kseparation.ops.stft import stft


def _floored_magnitude(real, imag, smallest_power):
    """Root of the power, not below `sqrt(smallest_power)`, where the gradient is zero."""
    return ops.sqrt(ops.maximum(ops.square(real) + ops.square(imag), smallest_power))


@keras.saving.register_keras_serializable("kseparation")
class MultiResolutionSTFT(keras.losses.Loss):
    """Compares magnitudes at several window lengths: their logarithms, themselves, and how much of the whole spectrum is missed.

    The phase does not count, so this fits beside a loss of waveforms, or where the phase is made up, as in a codec. The logarithm hears quiet partials as much as loud
    ones. With its defaults it is `MultiResolutionSTFTLoss` of `auraloss` with hops of a quarter window, but for the spectral convergence: that package takes it over the
    whole batch, this each item by itself.

    Args:
        windows: window lengths in samples, a quarter of which is the hop; each is averaged, and each of its terms is a part of its own in the logs.
        spectral_convergence: weight of the norm of the difference over the norm of the true spectrum.
        log_magnitude: weight of the mean absolute difference of the natural logarithms.
        linear_magnitude: weight of the mean absolute difference.
        smallest_power: squared magnitudes below it count as this.

    Shapes: `y_true`, `y_pred` `(batch, stems, samples, channels)`; result `(batch,)`, float32.

    References: Yamamoto et al. 2020, Parallel WaveGAN (arXiv 1910.11480), eqs. 3 to 6; Steinmetz and Reiss 2020, auraloss.
    """

    def __init__(
        self,
        windows: tuple[int, ...] = (2048, 1024, 512),
        spectral_convergence: float = 1.0,
        log_magnitude: float = 1.0,
        linear_magnitude: float = 0.0,
        smallest_power: float = 1e-8,
        name: str = "multi_resolution_stft",
        **kwargs,
    ):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        if not windows or min(windows) < 4 or len(set(windows)) < len(windows):
            raise ValueError(f"`windows` needs at least one window length of 4 samples or more, each once. Received: windows={windows}")
        terms = {"spectral_convergence": spectral_convergence, "log_magnitude": log_magnitude, "linear_magnitude": linear_magnitude}
        for key, weight in terms.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"`{key}` must be a number from 0 on. Received: {key}={weight}")
        if not any(terms.values()):
            raise ValueError("One of `spectral_convergence`, `log_magnitude` and `linear_magnitude` must be above 0. Received: all 0")
        if not 0 < smallest_power < 1:
            raise ValueError(f"`smallest_power` must lie between 0 and 1. Received: smallest_power={smallest_power}")
        self.windows = tuple(windows)
        self.terms = terms
        self.smallest_power = smallest_power
        self.part_names = [f"{window}_{term}" for window in self.windows for term, weight in terms.items() if weight]

    @property
    def least_samples(self) -> int:
        """Shortest segment that the loss is meant for, a quarter of a frame."""
        return -(-max(self.windows) // 4)

    def parts(self, y_true, y_pred):
        """Returns each term of each window by name, `{"<window>_<term>": (batch,)}`; they add up to the loss."""
        y_true, y_pred = (ops.transpose(ops.cast(audio, "float32"), (0, 1, 3, 2)) for audio in (y_true, y_pred))  # (batch, stems, channels, samples)
        parts = {}
        for window in self.windows:
            transform = {"window_samples": window, "hop_samples": window // 4, "beyond_end": False}
            true, pred = (_floored_magnitude(*stft(audio, **transform), self.smallest_power) for audio in (y_true, y_pred))
            for term, weight in self.terms.items():
                if weight:
                    parts[f"{window}_{term}"] = weight / len(self.windows) * _TERMS[term](true, pred)
        return parts

    def call(self, y_true, y_pred):
        return sum(self.parts(y_true, y_pred).values())

    def get_config(self):
        return {"windows": self.windows, **self.terms, "smallest_power": self.smallest_power, "name": self.name}


def _spectral_convergence(true, pred):
    # Over all stems and channels together: a silent stem of its own would be divided by nothing.
    missed, whole = (ops.sum(ops.square(spectrum), axis=(1, 2, 3, 4)) for spectrum in (true - pred, true))
    equal = missed == 0  # where the root has no derivative
    return ops.where(equal, 0.0, ops.sqrt(ops.where(equal, 1.0, missed))) / ops.sqrt(whole)


# Each takes magnitudes `(batch, stems, channels, frames, bins)` and gives `(batch,)`.
_TERMS = {
    "spectral_convergence": _spectral_convergence,
    "log_magnitude": lambda true, pred: ops.mean(ops.absolute(ops.log(true) - ops.log(pred)), axis=(1, 2, 3, 4)),
    "linear_magnitude": lambda true, pred: ops.mean(ops.absolute(true - pred), axis=(1, 2, 3, 4)),
}

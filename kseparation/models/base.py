"""What every model of a family promises, whatever its architecture."""

import keras
import numpy as np
from keras import ops

from kseparation.losses import Objective
from kseparation.metrics import GlobalSDRMetric
from kseparation.metrics.loss_part import LossPart


@keras.saving.register_keras_serializable("kseparation")
class TrackedModel(keras.Model):
    """A Keras model that logs each part of its loss by name and cannot lose a bad value.

    Compiled with an `Objective`, every part is a metric: in training its value at the last step, in validation its mean. The running mean that Keras keeps would
    carry one NaN through the whole epoch.
    """

    def compile(self, optimizer="rmsprop", loss=None, **kwargs):
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        names = loss.part_names() if isinstance(loss, Objective) else []
        self.loss_parts = {name: LossPart(name=name) for name in ("total", *names)} if names else {}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Adds up the loss parts, logs them, and makes a loss that is not finite visible to every gradient."""
        if not getattr(self, "loss_parts", None):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        parts = self.loss.parts(y, y_pred)
        total = sum(parts.values())
        for name, value in {"total": total, **parts}.items():
            self.loss_parts[name].update_state(ops.stop_gradient(value), running=not training)
        self.track_scores(y, y_pred)
        # The gradient of |x| at NaN is 0 on one backend and NaN on others. A factor that is 1 or NaN makes the step's gradients NaN on all of them, so that the
        # optimizer's gate sees it.
        gate = ops.where(ops.isfinite(total), ops.ones_like(total), total - total)
        return total * ops.stop_gradient(gate)

    def track_scores(self, y, y_pred):
        """Updates the family's own metrics; none here."""


@keras.saving.register_keras_serializable("kseparation")
class Separator(TrackedModel):
    """Waveform in, one waveform per stem out, for any length from one sample on.

    A subclass sets up its layers and writes `call(mixture, training)`. The model carries what a user must know to feed it.

    Args:
        stems: names of the stems in the order of the output.
        sample_rate: of the audio that it was trained on, in Hz.
        channels: number of audio channels.
        segment_samples: length of the segments that it was trained on, in samples; whole tracks are cut to it.

    Input shape: `(batch, samples, channels)`. Output shape: `(batch, stems, samples, channels)`.
    """

    def __init__(
        self,
        stems: tuple[str, ...] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        segment_samples: int = 264600,
        **kwargs,
    ):
        # Autocasting would round the mixture to half precision before the transform sees it.
        super().__init__(autocast=False, **kwargs)
        if not stems or len(set(stems)) != len(stems):
            raise ValueError(f"`stems` must name at least one stem, each once. Received: stems={stems}")
        for name, value in (("sample_rate", sample_rate), ("channels", channels), ("segment_samples", segment_samples)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        self.stems = tuple(stems)
        self.sample_rate = sample_rate
        self.channels = channels
        self.segment_samples = segment_samples

    def compile(self, optimizer="rmsprop", loss=None, **kwargs):
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        self.score = GlobalSDRMetric(name="sdr_global")

    def track_scores(self, y, y_pred):
        self.score.update_state(ops.stop_gradient(y), ops.stop_gradient(y_pred))

    def predict_segments(self, mixtures: np.ndarray) -> np.ndarray:
        """Separates a batch of segments; compiled once for each shape.

        Args:
            mixtures: float32 `(batch, samples, channels)`.

        Returns:
            float32 `(batch, stems, samples, channels)`.
        """
        return np.asarray(self.predict_on_batch(mixtures), dtype="float32")

    def compute_output_shape(self, mixture_shape):
        batch, samples, channels = mixture_shape
        return batch, len(self.stems), samples, channels

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "stems": self.stems,
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "segment_samples": self.segment_samples,
        }

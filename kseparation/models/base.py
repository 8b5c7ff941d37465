"""What every model of a family promises, whatever its architecture."""

import contextlib
import re
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from kseparation.config.stem_names import STEM_NAME
from kseparation.layers.output_watch import watch_output
from kseparation.losses import Objective
from kseparation.metrics import GlobalSDRMetric
from kseparation.metrics.activation_scales import ActivationScales, scale_of
from kseparation.metrics.loss_part import LossPart
from kseparation.metrics.step_count import StepCount
from kseparation.models.sound_statistics import step_with_sound_statistics


class _Handover:
    """Passes what the forward pass of a step has found on to its loss. A plain object, because Keras would take a tensor that is an attribute for state."""

    def __init__(self):
        self.is_open = False
        self.records = False
        self.value = None
        self.scales = {}  # of the outputs of the layers that are recorded

    @contextlib.contextmanager
    def step(self, records=True):
        """Open for one step, after which everything is forgotten: its tensors mean nothing in the next."""
        self.is_open, self.records = True, records
        try:
            yield
        finally:
            self.is_open, self.records, self.value = False, False, None
            self.scales.clear()


class _Scores:
    """Metrics of one `compile`. A plain object, because Keras takes a metric that is an attribute for state of the built model."""

    def __init__(self, parts=(), others=()):
        self.parts = {name: LossPart(name=name) for name in parts}
        self.others = list(others)
        self.micro_batches = StepCount(name="micro_batches") if self.parts else None
        self.handover = _Handover()
        self.activations = None  # an `ActivationScales`


@keras.saving.register_keras_serializable("kseparation")
class TrackedModel(keras.Model):
    """A Keras model that logs each part of its loss by name and cannot lose a bad value.

    Compiled with an `Objective`, every part is a metric: in training its value at the last step, in validation its mean. The running mean that Keras keeps would
    carry one NaN through the whole epoch. A model may add parts of its own (`objective_parts`), and then be compiled without a loss.
    """

    def compile(self, optimizer="rmsprop", loss=None, **kwargs):
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        own = self.objective_names() if loss is None or isinstance(loss, Objective) else []
        parts = [*own, *(loss.part_names() if isinstance(loss, Objective) else [])]
        self._scores = _Scores(("total", *parts), self.family_metrics()) if parts else _Scores()

    def compile_from_config(self, config):
        """Compiles a model that was loaded as it was when it was saved, so that `fit` goes on with it: Keras does so only for models without a `compile` of their own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def family_metrics(self) -> list[keras.metrics.Metric]:
        """Returns the metrics that every training of this family logs."""
        return []

    def update_family_metrics(self, metrics: list[keras.metrics.Metric], y_true, y_pred, training: bool) -> None:
        """Adds a batch to the metrics of `family_metrics`; by default they are given (y_true, y_pred)."""
        for metric in metrics:
            metric.update_state(ops.convert_to_tensor(y_true), y_pred)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the metrics of `family_metrics` in the logs."""
        return tuple(metric.name for metric in self._scores.others)

    def validation_scores(self, scores: dict[str, float]) -> dict[str, float]:
        """Returns those of the scores that mean something in a validation, by default all."""
        return scores

    def score_words(self, scores: Mapping[str, float]) -> str:
        """Returns what the line of an epoch tells of the scores of its validation."""
        return "  ".join(f"{name} {value:.4g}" for name, value in scores.items())

    def objective_names(self) -> list[str]:
        """Returns the names of the parts that the model itself adds to the loss."""
        return []

    def objective_parts(self, x, y_true) -> dict:
        """Returns the parts of `objective_names`, float32 scalars.

        Args:
            x: the input of this step.
            y_true: what is to come out.
        """
        return {}

    def hand_over(self, value) -> None:
        """Keeps what a forward pass has found for the loss of the same step; outside a step nothing is kept."""
        scores = getattr(self, "_scores", None)
        if scores and scores.handover.is_open:
            scores.handover.value = value

    def handed_over(self):
        """Returns what the forward pass of this step has found, None outside a step, as when Keras asks for shapes."""
        return self._scores.handover.value

    def record_activations(self, layers: dict, steps: int) -> None:
        """Has the scales of the outputs of these layers, and `recorded_values`, kept for the last micro-batches of a training. Call it before the first step is compiled, and once.

        Args:
            layers: by path, in the order in which they shall be shown.
            steps: number of micro-batches.
        """
        scores = self._scores
        scores.activations = ActivationScales([*layers, *self.recorded_values()], steps)

        def remember(path):
            def see(output):
                if scores.handover.records and hasattr(output, "shape") and keras.backend.is_float_dtype(keras.backend.standardize_dtype(output.dtype)):
                    scores.handover.scales[path] = scale_of(output)  # at once: the output itself would stay in memory through the backward pass

            return see

        for path, layer in layers.items():
            watch_output(layer, remember(path))

    def recorded_values(self) -> dict:
        """Returns what else is to be recorded of a step beside the scales of the layers, float32 scalars by name; the same names at every call."""
        return {}

    @property
    def activations(self) -> ActivationScales | None:
        """The scales that `record_activations` has kept."""
        scores = getattr(self, "_scores", None)
        return scores.activations if scores else None

    def opened_step(self):
        """Returns a context in which a forward pass hands over as inside a step, for those who take a step apart: nothing is recorded, for they would take that for a part of the layers."""
        return self._scores.handover.step(records=False)

    def train_step(self, *arguments):
        with self._scores.handover.step():
            return step_with_sound_statistics(self, super().train_step, arguments)

    def test_step(self, *arguments):
        with self._scores.handover.step():
            return super().test_step(*arguments)

    def known_failures(self) -> dict[str, str]:
        """Returns the arguments that are known to break its training, and why; a config runs them under `reproduce_failure` only."""
        return {}

    def start_from_data(self, examples) -> dict[str, float]:
        """Sets what the model takes from the first training examples, before the first step; returns it by name, for the log.

        Args:
            examples: batches as a training has them, pairs of inputs and references.
        """
        return {}

    @property
    def tracks_parts(self) -> bool:
        """Whether it is compiled so that the parts of its loss are logged."""
        return bool(getattr(self, "_scores", None) and self._scores.parts)

    @property
    def metrics(self):
        scores = getattr(self, "_scores", None)
        if not (scores and scores.parts):
            return super().metrics
        recorded = [scores.activations] if scores.activations is not None else []
        return super().metrics + [*scores.parts.values(), *scores.others, scores.micro_batches, *recorded]

    def get_metrics_result(self):
        results = super().get_metrics_result()
        for name in ("micro_batches", "activation_scales"):
            results.pop(name, None)
        return results

    def set_micro_batches(self, count: int) -> None:
        """Tells how many micro-batches were trained on before, for the schedules of the loss."""
        self._scores.micro_batches.count.assign(count)

    def _step(self, training):
        """Optimizer steps made before this one, None outside a training."""
        if not training:
            return None
        counter = self._scores.micro_batches
        before = ops.copy(ops.convert_to_tensor(counter.count))  # torch counts in place
        counter.update_state()
        return before // getattr(self.optimizer, "accumulate_steps", 1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Adds up the loss parts, logs them, and makes a loss that is not finite visible to every gradient."""
        if not self._scores.parts:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` must be None: the parts of the loss count all items alike. Leave out `sample_weight` and `class_weight`; an item that "
                f"shall count more can be given more often. Received: sample_weight={sample_weight}"
            )
        step = self._step(training)
        parts = self.objective_parts(x, y)
        total = sum(parts.values())
        if self.loss is not None:
            others = self.loss.parts(y, y_pred, step)
            parts, total = {**parts, **others}, total + self.loss.total(others)
        for penalty in self.losses:  # of layers
            total = total + ops.cast(ops.sum(penalty), "float32")
        for name, value in {"total": total, **parts}.items():
            self._scores.parts[name].update_state(ops.stop_gradient(value), running=not training)
        if training and self._scores.activations is not None:
            self._scores.activations.update_state({**self._scores.handover.scales, **self.recorded_values()}, step + 1)
        self.update_family_metrics(self._scores.others, y, ops.stop_gradient(y_pred), training)
        # The gradient of |x| at NaN is 0 on one backend and NaN on others. A factor that is 1 or NaN makes the step's gradients NaN on all of them, so that the
        # optimizer's gate sees it.
        gate = ops.where(ops.isfinite(total), ops.ones_like(total), total - total)
        return total * ops.stop_gradient(gate)


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

    task = "separation"
    # Whether the output, summed over the stems, is the mixture whatever the weights.
    stems_add_up = False

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
        for stem in stems:
            if not isinstance(stem, str) or not re.fullmatch(STEM_NAME, stem):
                raise ValueError(f"`stems` become names of files: letters, digits, - and _ only, at most 64. Received: {stem!r}")
        for name, value in (("sample_rate", sample_rate), ("channels", channels), ("segment_samples", segment_samples)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")
        self.stems = tuple(stems)
        self.sample_rate = sample_rate
        self.channels = channels
        self.segment_samples = segment_samples

    def family_metrics(self):
        return [GlobalSDRMetric(name="sdr_segments")]

    def score_words(self, scores):
        return f"segment SDR {scores['sdr_segments']:.2f} dB"

    def predict_segments(self, mixtures: np.ndarray) -> np.ndarray:
        """Separates a batch of segments; compiled once for each shape.

        Args:
            mixtures: float32 `(batch, samples, channels)`.

        Returns:
            float32 `(batch, stems, samples, channels)`.
        """
        if keras.backend.backend() == "tensorflow" and not self.compiled and self.predict_function is None:
            # Keras leaves XLA off on a machine without a GPU, where a segment takes a third longer without it (`benchmarks/separation.py`).
            self.jit_compile = True
        return np.asarray(self.predict_on_batch(mixtures), dtype="float32")

    def compute_output_shape(self, mixture_shape):
        batch, samples, channels = mixture_shape
        return batch, len(self.stems), samples, channels

    def compute_output_spec(self, mixture, training=False):
        # Keras would take the compute dtype of the policy.
        return keras.KerasTensor(self.compute_output_shape(mixture.shape), dtype="float32")

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "stems": self.stems,
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "segment_samples": self.segment_samples,
        }

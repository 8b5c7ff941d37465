"""A separator of a few weights that compiles at once, with batch statistics and dropout, and batches for it."""

import keras
import numpy as np
from keras import ops

from kseparation.layers import FiniteBatchNormalization
from kseparation.layers.seeded_dropout import seeded_dropout
from kseparation.losses import LOSSES, Objective
from kseparation.models.base import Separator
from kseparation.training.feeding import fit_input
from kseparation.training.validation_set import ValidationSet

STEMS = ("vocals", "drums")
CHANNELS = 2
SAMPLES = 16
# Of a mixture and of its stems.
SPEC = keras.KerasTensor((None, SAMPLES, CHANNELS)), keras.KerasTensor((None, len(STEMS), SAMPLES, CHANNELS))


@keras.saving.register_keras_serializable("tests")
class TinySeparator(Separator):
    def __init__(
        self, normalize: bool = True, dropout: float = 0.0, stems=STEMS, sample_rate=8000, channels=CHANNELS, segment_samples=SAMPLES, **kwargs
    ):
        super().__init__(stems, sample_rate, channels, segment_samples, **kwargs)
        self.has_statistics = normalize
        self.normalize = FiniteBatchNormalization(name="normalize") if normalize else None
        self.dropout = seeded_dropout(dropout, name="dropout") if dropout else None
        self.dense = keras.layers.Dense(len(STEMS) * CHANNELS, name="dense")

    def build(self, input_shape):
        if self.normalize:
            self.normalize.build(input_shape)
        self.dense.build(input_shape)
        self.built = True

    def call(self, mixture, training=False):
        features = self.normalize(mixture, training=training) if self.normalize else mixture
        features = self.dropout(features, training=training) if self.dropout else features
        stems = ops.reshape(self.dense(features), (-1, ops.shape(mixture)[1], len(STEMS), CHANNELS))
        return ops.transpose(stems, (0, 2, 1, 3))

    def get_config(self):
        return {"normalize": self.has_statistics, "name": self.name}


def tiny_separator(optimizer, normalize=True, run_eagerly=False) -> TinySeparator:
    """Returns a built model, compiled with the waveform loss."""
    keras.utils.set_random_seed(7)
    model = TinySeparator(normalize)
    model.build((None, SAMPLES, CHANNELS))
    optimizer.build(model.trainable_variables)
    jit = keras.backend.backend() == "jax"
    model.compile(
        optimizer, loss=Objective({"waveform_l1": LOSSES["waveform_l1"]()}), jit_compile=jit, auto_scale_loss=False, run_eagerly=run_eagerly
    )
    return model


def tiny_batches(count: int, size: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns `count` batches of seeded noise: mixtures and stems."""
    draw = np.random.default_rng(3)
    stems = [draw.uniform(-0.5, 0.5, (size, len(STEMS), SAMPLES, CHANNELS)).astype("float32") for _ in range(count)]
    return [(batch.sum(axis=1), batch) for batch in stems]


def fit(model, batches, callbacks=(), **arguments):
    """Trains on the batches in their order, once unless `epochs` says otherwise."""
    return model.fit(fit_input(ValidationSet(batches), SPEC), shuffle=False, verbose=0, callbacks=list(callbacks), **arguments)

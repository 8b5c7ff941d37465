"""Models that are loaded by Keras itself and trained on."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.losses import Objective, WaveformL1
from kseparation.training import GuardedOptimizer
from kseparation.training.run_callbacks import save_model
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def weights(model: keras.Model) -> list[np.ndarray]:
    return [numbers(weight) for weight in model.weights]


@pytest.mark.parametrize("guarded", [False, True])
def test_a_model_that_keras_saved_and_loaded_trains_on_as_if_nothing_had_been(tmp_path: Path, guarded: bool) -> None:
    optimizer = GuardedOptimizer(keras.optimizers.Adam(0.01)) if guarded else keras.optimizers.Adam(0.01)
    model, batches = tiny_separator(optimizer), tiny_batches(4)
    fit(model, batches[:2])
    model.save(tmp_path / "model.keras")
    fit(model, batches[2:])
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss, Objective) and isinstance(loaded.loss.losses["waveform_l1"], WaveformL1)
    fit(loaded, batches[2:])
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) == 4
    for ours, theirs in zip(weights(loaded), weights(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_file_of_a_run_has_no_optimizer_state_and_trains_on_from_its_weights(tmp_path: Path) -> None:
    model = tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.01)))
    fit(model, tiny_batches(2))
    save_model(model, tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tells that there is none
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(weights(loaded), weights(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    fit(loaded, tiny_batches(1))
    assert int(loaded.optimizer.iterations) == 1

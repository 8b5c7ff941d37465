import io
import zipfile

import h5py
import keras
import numpy as np
import pytest

from kseparation.training import GuardedOptimizer
from kseparation.training.run_callbacks import save_model
from kseparation.training.validation_set import ValidationSet
from kseparation.training.weight_averaging import ValidateAveragedWeights, averaged_weights
from tests.on_backend import numbers
from tests.tiny_separator import TinySeparator, fit, tiny_batches, tiny_separator


def weights(model):
    return [numbers(weight) for weight in model.trainable_variables]


def averages(model):
    return [numbers(average) for average in model.optimizer.averages]


def same(first, second) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.fixture
def trained():
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.3), averaging=0.9))
    fit(model, tiny_batches(4))
    return model


def test_the_averages_come_and_go(trained) -> None:
    raw = weights(trained)
    assert not same(raw, averages(trained))
    with averaged_weights(trained):
        assert same(weights(trained), averages(trained))
    assert same(weights(trained), raw)


def test_the_raw_weights_come_back_after_an_error(trained) -> None:
    raw = weights(trained)
    with pytest.raises(ZeroDivisionError), averaged_weights(trained):
        1 / 0  # noqa: B018
    assert same(weights(trained), raw)


def test_without_averages_nothing_changes() -> None:
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.3)))
    fit(model, tiny_batches(1))
    raw = weights(model)
    with averaged_weights(model):
        assert same(weights(model), raw)


def test_before_the_first_step_the_weights_are_used() -> None:
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.3), averaging=0.9))
    raw = weights(model)
    with averaged_weights(model):
        assert same(weights(model), raw)


def test_validation_uses_the_averages_and_training_goes_on_from_the_raw_weights() -> None:
    batches, held_out = tiny_batches(6), tiny_batches(1, size=5)
    model, plain = (tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.3), averaging=0.9)) for _ in range(2))
    history = fit(model, batches, [ValidateAveragedWeights()], epochs=2, validation_data=ValidationSet(held_out)).history
    fit(plain, batches, epochs=2)
    assert same(weights(model), weights(plain))
    with averaged_weights(model):
        loss = np.mean(np.abs(numbers(model(held_out[0][0], training=False)) - held_out[0][1]))
    assert history["val_total"][-1] == pytest.approx(loss, rel=1e-5)


def test_the_saved_model_has_the_averages(trained, tmp_path) -> None:
    raw = weights(trained)
    optimizer = trained.optimizer
    save_model(trained, tmp_path / "model.keras")
    assert same(weights(trained), raw) and trained.optimizer is optimizer
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            stored = []
            file.visititems(lambda name, item: stored.append(name) if isinstance(item, h5py.Dataset) else None)
            assert len(stored) == len(trained.weights)
    opened = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"tests>TinySeparator": TinySeparator}, compile=False)
    assert same(weights(opened), averages(trained))

"""What the family of separators promises: its description, its refusals, its metrics, and that a loaded one trains on."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.losses import MultiResolutionComplexSTFT, Objective, WaveformL1
from kseparation.models import Separator
from kseparation.training import GuardedOptimizer
from kseparation.training.run_callbacks import save_model
from tests.on_backend import compute, numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator


@keras.saving.register_keras_serializable("tests")
class Halver(Separator):
    """Gives each stem its share of the mixture: one weight, no transform."""

    def build(self, input_shape):
        self.share = self.add_weight(shape=(), initializer="ones", name="share")
        self.built = True

    def call(self, mixture, training=False):
        stem = keras.ops.convert_to_tensor(mixture) * self.share / len(self.stems)
        return keras.ops.stack([stem] * len(self.stems), axis=1)


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_segments_are_separated_in_numpy():
    model, mixtures = Halver(stems=("a", "b"), channels=1), noise(3, 50, 1)
    result = model.predict_segments(mixtures)
    assert isinstance(result, np.ndarray) and result.dtype == np.float32
    np.testing.assert_allclose(result, compute(model, mixtures), atol=1e-7)
    assert result.shape == model.compute_output_shape(mixtures.shape) == (3, 2, 50, 1)


def test_segments_are_separated_by_compiled_code_where_that_is_faster():
    model = Halver(stems=("a", "b"), channels=1)
    model.predict_segments(noise(1, 50, 1))
    assert model.jit_compile == (keras.backend.backend() in ("tensorflow", "jax"))
    trained = Halver(stems=("a", "b"), channels=1)
    trained.compile(keras.optimizers.SGD(0.0), Objective({"wave": WaveformL1()}), jit_compile=False)
    trained.predict_segments(noise(1, 50, 1))
    assert not trained.jit_compile  # as it was compiled


def test_loss_parts_and_sdr_are_logged_in_training_and_validation():
    model = Halver(stems=("a", "b"), channels=1)
    spectral = MultiResolutionComplexSTFT((16, 8), 4, 1)
    objective = Objective({"wave": WaveformL1(), "spectral": spectral}, {"wave": 2.0})
    model.compile(keras.optimizers.SGD(0.0), objective, run_eagerly=True, jit_compile=False)
    mixture, stems = noise(4, 60, 1), noise(4, 2, 60, 1)
    logs = model.fit(mixture, stems, validation_data=(mixture, stems), batch_size=2, shuffle=False, verbose=0).history
    names = ["total", "wave", "spectral/16", "spectral/8", "sdr_segments"]
    assert set(logs) == {"loss", "val_loss", *names, *(f"val_{name}" for name in names)}
    for prefix in ("", "val_"):
        parts = sum(logs[prefix + name][0] for name in names[1:4])
        assert logs[f"{prefix}total"][0] == pytest.approx(parts, rel=1e-5)
    # The mean over both batches in validation, the last step in training.
    whole = model.loss.parts(stems, model(mixture))
    assert logs["val_wave"][0] == pytest.approx(float(numbers(whole["wave"])), rel=1e-5)
    assert logs["val_total"][0] == pytest.approx(logs["val_loss"][0], rel=1e-5)
    last = model.loss.parts(stems[2:], model(mixture[2:]))
    assert logs["wave"][0] == pytest.approx(float(numbers(last["wave"])), rel=1e-5)
    assert logs["wave"][0] != pytest.approx(logs["val_wave"][0], rel=1e-3)


def test_losses_of_layers_count():
    model = Halver(stems=("a", "b"), channels=1)
    model.compile("sgd", Objective({"wave": WaveformL1()}), run_eagerly=True, jit_compile=False)
    mixture, stems = noise(2, 60, 1), noise(2, 2, 60, 1)
    before = model.evaluate(mixture, stems, verbose=0, return_dict=True)
    model.share.regularizer = keras.regularizers.L2(100.0)
    after = model.evaluate(mixture, stems, verbose=0, return_dict=True)
    penalty = 100.0 * float(numbers(model.share)) ** 2
    assert penalty > 1 and after["total"] - before["total"] == pytest.approx(penalty, rel=1e-4)
    assert after["wave"] == before["wave"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_schedules_of_losses_count_optimizer_steps_over_all_epochs(accumulate):
    model = Halver(stems=("a", "b"), channels=1)
    objective = Objective({"wave": WaveformL1(), "late": WaveformL1(name="late")}, schedules={"late": (3, 0)})
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.0), accumulate_steps=accumulate)
    model.build((None, 60, 1))
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, objective, jit_compile=keras.backend.backend() != "torch")
    mixture, stems = noise(2, 60, 1), noise(2, 2, 60, 1)
    late = []

    class Each(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            late.append(float(logs["late"]) > 0)

    for steps in (2, 2 * accumulate):
        model.fit(np.tile(mixture, (steps, 1, 1)), np.tile(stems, (steps, 1, 1, 1)), batch_size=2, shuffle=False, verbose=0, callbacks=[Each()])
    count = 2 + 2 * accumulate
    assert late == [index // accumulate >= 3 for index in range(count)] and (any(late) or accumulate == 2)
    # A validation takes all weights full, and does not count.
    assert model.evaluate(mixture, stems, verbose=0, return_dict=True)["late"] > 0
    late.clear()
    model.set_micro_batches(3 * accumulate - 1)
    model.fit(np.tile(mixture, (2, 1, 1)), np.tile(stems, (2, 1, 1, 1)), batch_size=2, shuffle=False, verbose=0, callbacks=[Each()])
    assert late == [False, True]


def test_metrics_are_no_state_of_the_model():
    """A model file holds what the model is, not what it was scored with."""
    model = Halver(stems=("a", "b"), channels=1)
    model.compile("sgd", Objective({"wave": WaveformL1()}))
    model.build((None, 10, 1))
    assert [weight.path.rsplit("/", 1)[-1] for weight in model.weights] == ["share"]


@pytest.mark.parametrize("verb", ["fit", "evaluate"])
def test_weights_of_items_are_refused(verb):
    model, weights = Halver(stems=("a", "b"), channels=1), np.array([1.0, 0.0], "float32")
    model.compile("sgd", Objective({"wave": WaveformL1()}))
    with pytest.raises(ValueError, match="`sample_weight` must be None: the parts of the loss count all items alike. Leave out `sample_weight` and `class_weight`"):
        getattr(model, verb)(noise(2, 60, 1), noise(2, 2, 60, 1), sample_weight=weights, verbose=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_reaches_every_gradient(bad):
    model = Halver(stems=("a", "b"), channels=1)
    model.compile(keras.optimizers.SGD(1.0), Objective({"wave": WaveformL1()}), run_eagerly=True, jit_compile=False)
    mixture, stems = noise(2, 60, 1), noise(2, 2, 60, 1)
    stems[0, 0, 7] = bad
    model.train_on_batch(mixture, stems)
    assert np.isnan(numbers(model.share))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stems": ("vocals", "../x")}, r"`stems` become names of files: .* Received: '\.\./x'"),
        ({"stems": ()}, r"`stems` must name at least one stem, each once. Received: stems=\(\)"),
        ({"stems": ("a", "a")}, r"each once. Received: stems=\('a', 'a'\)"),
        ({"sample_rate": 0}, "`sample_rate` must be at least 1. Received: sample_rate=0"),
        ({"channels": 0}, "`channels` must be at least 1. Received: channels=0"),
        ({"segment_samples": -1}, "`segment_samples` must be at least 1. Received: segment_samples=-1"),
    ],
)
def test_words_of_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        Separator(**arguments)


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

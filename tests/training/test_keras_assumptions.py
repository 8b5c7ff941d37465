"""What the safety of a training takes for granted about Keras and the backends. A failure here says that a new version behaves otherwise, and which decision rests on it."""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.training import GuardedOptimizer
from kseparation.training.state import read_state, write_state
from tests.on_backend import numbers
from tests.tiny_separator import fit, tiny_batches, tiny_separator

BACKEND = keras.backend.backend()


def dense_model(optimizer=None, dropout=False) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.Input((3,)), keras.layers.Dense(4), *([keras.layers.Dropout(0.5, seed=3)] if dropout else []), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss="mse", jit_compile=BACKEND == "jax")
    return model


def data(rows: int = 16):
    draw = np.random.default_rng(0)
    return draw.standard_normal((rows, 3)).astype("float32"), draw.standard_normal((rows, 1)).astype("float32")


def test_variables_of_our_own_in_an_optimizer_are_trained_and_kept() -> None:
    """The counters and the ring of steps live there."""
    model = tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.01), record_steps=4))
    fit(model, tiny_batches(3))
    state = read_state(model)
    assert {name.rsplit("/", 1)[-1] for name in state} >= {"seen_steps", "recorded_gradients"}
    other = tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.01), record_steps=4))
    write_state(other, state)
    assert int(other.optimizer.seen_steps) == 3 and other.optimizer.record.read()["step"].tolist() == [1, 2, 3]


class Scaled(keras.optimizers.SGD):
    """Counts in `scale_loss`."""

    def build(self, variables):
        super().build(variables)
        self.calls = self.add_variable(shape=(), initializer="zeros", name="calls")

    def scale_loss(self, loss):
        self.calls.assign(ops.convert_to_tensor(self.calls) + 1.0)
        return loss


def test_what_scale_loss_writes_is_lost_on_jax() -> None:
    """So the parts of the loss are kept by metrics, which are not lost."""
    model = dense_model(Scaled(0.1))
    model.optimizer.build(model.trainable_variables)
    model.fit(*data(), batch_size=4, verbose=0)
    assert float(model.optimizer.calls) == (0.0 if BACKEND == "jax" else 4.0)


def test_torch_has_hooks_that_the_other_backends_lack() -> None:
    """Layers are watched by their `call`, which is the same everywhere."""
    model, fired = dense_model(), []
    if BACKEND != "torch":
        assert not hasattr(model.layers[0], "register_forward_hook")
        return
    model.layers[0].register_forward_hook(lambda *_: fired.append(1))
    model(data()[0])
    assert fired == [1]


class StopAt(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if batch == 2:
            self.model.stop_training = True


def test_a_callback_ends_fit_after_its_step() -> None:
    """Of a callback that need not wait its turn Keras promises less: it may be a step late, and on JAX find the logs of a step already overwritten."""
    model, stop = dense_model(), StopAt()
    stop.async_safe = False
    model.fit(*data(64), batch_size=2, epochs=3, verbose=0, callbacks=[stop])
    assert stop.seen == int(model.optimizer.iterations) == 3


def test_seeds_are_in_our_state_and_not_in_the_weights_file(tmp_path: Path) -> None:
    """So a checkpoint is no `.weights.h5`."""
    model = dense_model(dropout=True)
    model.optimizer.build(model.trainable_variables)
    model(data()[0], training=True)
    assert any("seed_generator" in name for name in read_state(model))
    model.save_weights(tmp_path / "a.weights.h5")
    before = numbers(model.layers[1].seed_generator.state).tolist()
    other = dense_model(dropout=True)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "a.weights.h5")
    assert before != numbers(other.layers[1].seed_generator.state).tolist()


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 5:
            raise RuntimeError("killed")


def test_backup_and_restore_repeats_the_epoch_that_it_was_in(tmp_path: Path) -> None:
    """So steps are counted and data found by our own checkpoint."""
    model = dense_model()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)
    with pytest.raises(RuntimeError):
        model.fit(*data(), batch_size=2, verbose=0, callbacks=[backup, Interrupt()])
    again = dense_model()
    again.fit(*data(), batch_size=2, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2)])
    # Six steps were in the backup, two were left of the epoch, and eight were made.
    assert int(again.optimizer.iterations) == 14


def test_keras_writes_a_model_file_under_its_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So ours are written under another one first."""
    file, at_a_kill, close = tmp_path / "model.keras", [], zipfile.ZipFile.close

    def look(archive):
        if archive.fp is not None and archive.mode == "w":
            archive.fp.flush()
            at_a_kill.append(file.read_bytes())
        close(archive)

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2000)])
    monkeypatch.setattr(zipfile.ZipFile, "close", look)
    model.save(file)
    assert at_a_kill and all(content and not zipfile.is_zipfile(io.BytesIO(content)) for content in at_a_kill)
    assert zipfile.is_zipfile(file)


def test_a_copy_of_the_state_outlives_the_next_steps() -> None:
    """Compiled steps may write into the memory of the state that they were given."""
    model = tiny_separator(GuardedOptimizer(keras.optimizers.Adam(0.1)))
    fit(model, tiny_batches(1))
    state = read_state(model)
    kept = {name: value.copy() for name, value in state.items()}
    fit(model, tiny_batches(4))
    for name, value in state.items():
        np.testing.assert_array_equal(value, kept[name])


def test_keras_own_loss_scale_has_no_floor() -> None:
    """So ours stops at 1, and tells a fault from a scale that is looked for."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = dense_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=4.0))
        x, y = data()
        model.fit(x, y * np.nan, batch_size=2, epochs=4, verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    assert float(model.optimizer.dynamic_scale) == 4.0 / 2**32 and int(model.optimizer.inner_optimizer.iterations) == 0


def test_a_custom_gradient_is_the_same_everywhere() -> None:
    """Attention on the CPU has one."""

    @ops.custom_gradient
    def doubled_backwards(x):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            return 2.0 * upstream

        return x * 1.0, gradient

    class Layer(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(), initializer="ones", name="w")

        def call(self, x):
            return doubled_backwards(x * self.w)

    model = keras.Sequential([keras.Input((3,)), Layer()])
    model.compile(keras.optimizers.SGD(0.01), loss="mse", jit_compile=BACKEND == "jax")
    x = np.ones((2, 3), "float32")
    model.fit(x, 0 * x, batch_size=2, verbose=0)
    # d/dw of mean((w x)^2) at 1 is 2, doubled 4.
    assert float(numbers(model.layers[0].w)) == pytest.approx(1 - 0.01 * 4)

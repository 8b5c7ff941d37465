"""Each kind of fault in a small model, by the place that an examination of one step names."""

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.losses import LOSSES, Objective
from kseparation.models.base import Separator
from kseparation.models.mask_unet import MaskUNet
from kseparation.models.moises_light import MoisesLight
from kseparation.training import GuardedOptimizer, examination
from kseparation.training.examination import examine_step
from tests.on_backend import numbers, weight_gradients
from tests.tiny_run import MODEL
from tests.tiny_separator import CHANNELS, SAMPLES, STEMS, TinySeparator, tiny_batches, tiny_separator


class Logarithm(keras.layers.Layer):
    def call(self, features):
        positive = ops.relu(features)
        return ops.log(positive)  # here: log


class Quotient(keras.layers.Layer):
    def call(self, features):
        return features / (features - features)  # here: quotient


class Root(keras.layers.Layer):
    def call(self, features):
        squares = ops.square(features) * 1.0
        return ops.sqrt(squares)  # here: sqrt


class UnitLength(keras.layers.Layer):
    def call(self, features):
        length = ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True))  # here: length
        return features / (length + 1e-3) + length


class MaskedMaximum(keras.layers.Layer):
    """Infinite inside, finite outside."""

    def call(self, features):
        masked = ops.where(features > 0, features, features * 0.0 - np.inf)
        return features + 0.0 * ops.maximum(masked, -1.0)


class Fails(keras.layers.Layer):
    def call(self, features):
        raise RuntimeError("a fault of its own")


class Around(keras.layers.Layer):
    """A layer inside a layer, with a shortcut."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(CHANNELS, name="first")
        self.inner = inner

    def build(self, input_shape):
        self.first.build(input_shape)
        self.inner.build(input_shape)

    def call(self, features):
        return features + self.inner(self.first(features))


class Twice(keras.layers.Layer):
    """Calls an attention twice, whose output is then a pair."""

    def __init__(self, attention, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention

    def build(self, input_shape):
        self.attention.build(input_shape, input_shape)

    def call(self, features):
        first, _ = self.attention(features, features, return_attention_scores=True)
        return features + self.attention(first, value=features)


class Chain(Separator):
    def __init__(self, *layers, **kwargs):
        super().__init__(STEMS, 8000, CHANNELS, SAMPLES, name="chain", **kwargs)
        self.layers_before = [keras.layers.Dense(CHANNELS, use_bias=False, name="begin"), *layers]
        self.end = keras.layers.Dense(len(STEMS) * CHANNELS, name="end")

    def build(self, input_shape):
        for layer in (*self.layers_before, self.end):
            layer.build(input_shape)
        self.built = True

    def call(self, mixture, training=False):
        for layer in self.layers_before:
            mixture = layer(mixture, training=training)
        stems = ops.reshape(self.end(mixture), (-1, SAMPLES, len(STEMS), CHANNELS))
        return ops.transpose(stems, (0, 2, 1, 3))


class Parts(keras.losses.Loss):
    """A sound part, and one that is given."""

    part_names = ("sound", "odd")

    def __init__(self, odd):
        super().__init__(name="parts")
        self.odd = odd

    def parts(self, y_true, y_pred):
        return {"sound": ops.mean(ops.absolute(y_pred - y_true)), "odd": self.odd(y_true, y_pred)}


def compiled(model, losses=None, **arguments):
    if not model.built:
        model.build((None, SAMPLES, CHANNELS))
    optimizer = GuardedOptimizer(keras.optimizers.SGD(0.1), accumulate_steps=2)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss=Objective(losses or {"waveform_l1": LOSSES["waveform_l1"]()}, **arguments), auto_scale_loss=False)
    return model


def chain(*layers, losses=None, **arguments):
    return compiled(Chain(*layers), losses, **arguments)


def batch(silent=False):
    x, y = tiny_batches(1)[0]
    if silent:
        x[1, 3:5] = 0.0
    return x, y


def line(marker):
    """`file:line` of the line of this file that ends with a marker."""
    lines = Path(inspect.getfile(line)).read_text(encoding="utf-8").splitlines()
    return f"tests/training/test_examination.py:{next(number for number, text in enumerate(lines, 1) if text.endswith(f'# here: {marker}'))}"


def fault(model, x, y, **arguments):
    finding = examine_step(model, x, y, **arguments).finding
    assert finding is not None
    return finding


def state(model):
    model_state = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [numbers(variable).tobytes() for variable in model_state]


def test_a_sound_step_has_no_finding_and_changes_nothing():
    x, y = batch()
    keras.utils.set_random_seed(3)
    model = compiled(TinySeparator(dropout=0.4, name="tiny"))
    model.train_on_batch(x, y)
    before = state(model)
    operators = vars(type(ops.convert_to_tensor(1.0))).copy()
    first, again = (examine_step(model, x, y) for _ in range(2))
    assert state(model) == before
    assert first == again and first.finding is None and first.batch_finite and first.bad_weights == ()
    assert list(first.scales) == ["tiny", "tiny/normalize", "tiny/dropout", "tiny/dense"] and all(scale > 0 for scale in first.scales.values())
    assert list(first.gradient_norms) == [weight.path for weight in model.trainable_variables]
    assert all(np.isfinite(value) and value > 0 for value in first.gradient_norms.values())
    assert first.parts == {"waveform_l1": pytest.approx(first.loss)}
    assert not any("call" in vars(layer) for layer in (model, model.dense)) and not hasattr(ops.log, "__wrapped__")
    assert dict(vars(type(ops.convert_to_tensor(1.0)))) == operators
    assert model.handed_over() is None
    logs = model.train_on_batch(x, y, return_dict=True)
    assert first.loss == pytest.approx(float(logs["total"]), rel=1e-6)


def test_norms_are_those_of_the_gradients_of_a_step():
    x, y = batch()
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1), loss_scaling=True))
    found = examine_step(model, x, y).gradient_norms
    expected = weight_gradients(model, x, y, LOSSES["waveform_l1"]())
    assert found == {path: pytest.approx(np.linalg.norm(gradient), rel=1e-5) for path, gradient in expected.items()}


def test_outside_a_training_statistics_and_schedules_are_those_of_inference():
    x, y = batch()
    model = compiled(TinySeparator(), {"a": LOSSES["waveform_l1"](), "b": LOSSES["waveform_l1"]()}, schedules={"b": (5, 5)})
    training, inference = (examine_step(model, x, y, training=training) for training in (True, False))
    assert training.parts["b"] == 0 < inference.parts["b"] == inference.parts["a"] != training.parts["a"]


def test_a_logarithm_of_zero_is_named_with_its_line():
    finding = fault(chain(Logarithm(name="logarithm")), *batch())
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("forward", "chain/logarithm", None, "log")
    assert finding.place == line("log")
    assert finding.smallest_input == 0 < finding.largest_input < 10 and finding.input_finite


def test_an_operator_counts_as_an_operation():
    finding = fault(chain(Quotient(name="quotient")), *batch())
    assert (finding.layer, finding.operation, finding.place) == ("chain/quotient", "divide", line("quotient"))
    assert finding.smallest_input == 0


def test_an_infinite_value_that_a_layer_deals_with_is_no_fault():
    assert examine_step(chain(Around(MaskedMaximum(name="masked"), name="around")), *batch()).finding is None


@pytest.mark.parametrize(("layer", "direction"), [(Logarithm, "forward"), (Root, "backward")])
def test_the_innermost_layer_is_named(layer, direction):
    model = chain(Around(layer(name="inner"), name="around"))
    model.layers_before[1].first.kernel.assign(np.zeros((CHANNELS, CHANNELS)))
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer) == (direction, "chain/around/inner")


@pytest.mark.parametrize(("layer", "marker"), [(Root, "sqrt"), (UnitLength, "length")])
def test_a_gradient_that_alone_is_bad_is_followed_to_its_operation(layer, marker):
    x, y = batch(silent=True)
    model = chain(MaskedMaximum(name="masked"), layer(name="odd"))
    before = state(model)
    found = examine_step(model, x, y)
    finding = found.finding
    assert np.isfinite(found.loss) and not np.isfinite(found.gradient_norms["chain/begin/kernel"]) and np.isfinite(found.gradient_norms["chain/end/kernel"])
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("backward", "chain/odd", None, "sqrt")
    assert finding.place == line(marker) and finding.smallest_input == 0 and finding.input_finite
    assert state(model) == before


def test_a_part_of_the_loss_that_divides_by_zero_is_named():
    def odd(_, y_pred):
        return ops.mean(y_pred) / ops.zeros(())  # here: part

    found = examine_step(chain(losses={"waveform_l1": LOSSES["waveform_l1"](), "two": Parts(odd)}), *batch())
    finding = found.finding
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("loss", None, "two/odd", "divide")
    assert finding.place == line("part") and finding.smallest_input == 0
    assert np.isfinite(found.parts["two/sound"]) and not np.isfinite(found.parts["two/odd"]) and not np.isfinite(found.loss)


def test_a_part_that_does_not_count_is_no_fault():
    losses = {"waveform_l1": LOSSES["waveform_l1"](), "two": Parts(lambda _, y_pred: ops.mean(y_pred) / ops.zeros(()))}
    found = examine_step(chain(losses=losses, weights={"two": 0.0}), *batch())
    assert found.finding is None and not np.isfinite(found.parts["two/odd"]) and np.isfinite(found.loss)


def test_a_part_of_the_loss_whose_gradient_is_bad_is_named():
    def odd(_, y_pred):
        return ops.sqrt(ops.sum(ops.square(y_pred * 0.0)))  # here: loss root

    finding = fault(chain(losses={"waveform_l1": LOSSES["waveform_l1"](), "two": Parts(odd)}), *batch())
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("backward", None, "two/odd", "sqrt")
    assert finding.place == line("loss root") and finding.smallest_input == 0


class HandsOver(TinySeparator):
    """Adds a part of its own, from what its forward pass has found; `odd` makes the part."""

    odd = staticmethod(ops.mean)

    def call(self, mixture, training=False):
        stems = super().call(mixture, training=training)
        self.hand_over({"stems": stems * 0.0})
        return stems

    def objective_names(self):
        return ["own"]

    def objective_parts(self, x, y_true):
        return {"own": self.odd(self.handed_over()["stems"])}


@pytest.mark.parametrize(("odd", "direction", "operation"), [("log", "loss", "log"), ("sqrt", "backward", "sqrt")])
def test_a_part_of_the_model_itself_is_named(odd, direction, operation):
    model = compiled(HandsOver(name="hands_over"))
    assert examine_step(model, *batch()).finding is None
    model.odd = {"log": lambda stems: ops.mean(ops.log(stems)), "sqrt": lambda stems: ops.sqrt(ops.sum(ops.square(stems)))}[odd]
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.part, finding.operation) == (direction, None, "own", operation)


def test_what_is_handed_over_is_an_output_too():
    class Spoils(HandsOver):
        def call(self, mixture, training=False):
            stems = super().call(mixture, training=training)
            self.hand_over({"stems": ops.log(stems * 0.0)})
            return stems

    finding = fault(compiled(Spoils(name="spoils")), *batch())
    assert (finding.direction, finding.layer, finding.operation) == ("forward", "spoils", "log")


def test_layers_of_keras_and_a_model_inside_of_the_model():
    inner = keras.Sequential([keras.layers.LSTM(CHANNELS, return_sequences=True, name="lstm"), keras.layers.LayerNormalization(name="norm"), keras.layers.ReLU(name="relu")], name="inner")
    attention = keras.layers.MultiHeadAttention(1, 2, name="attention")
    model = chain(inner, Twice(attention, name="twice"), Root(name="odd"))
    found = examine_step(model, *batch())
    assert found.finding is None and {"chain/inner/lstm", "chain/inner/norm", "chain/twice/attention"} <= set(found.scales)
    model.layers_before[1].layers[-1].call = lambda features: features - features  # that shall not be lost
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.operation) == ("backward", "chain/odd", "sqrt")
    assert float(ops.max(model.layers_before[1](batch()[0]))) == 0.0


def test_a_penalty_of_a_layer_is_named():
    model = chain(keras.layers.Dense(CHANNELS, kernel_regularizer=lambda kernel: ops.sqrt(ops.sum(ops.square(kernel * 0.0))), name="held"))
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.part) == ("backward", None, "penalties")
    model = chain(keras.layers.Dense(CHANNELS, activity_regularizer=lambda output: ops.sum(output) * np.inf, name="held"))
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.part) == ("loss", None, "penalties")


def test_weights_that_are_bad_to_begin_with():
    model = chain(keras.layers.Dense(CHANNELS, name="middle"))
    kernel = numbers(model.layers_before[1].kernel)
    kernel[0, 1] = np.nan
    model.layers_before[1].kernel.assign(kernel)
    found = examine_step(model, *batch())
    assert found.bad_weights == ("chain/middle/kernel",) and found.batch_finite
    assert (found.finding.direction, found.finding.layer, found.finding.input_finite) == ("forward", "chain/middle", False)


def test_a_batch_that_is_bad_to_begin_with():
    model = chain(Logarithm(name="logarithm"))
    x, y = batch()
    x[0, 3, 1] = np.inf
    found = examine_step(model, x, y)
    assert not found.batch_finite and found.bad_weights == ()
    assert (found.finding.direction, found.finding.layer, found.finding.input_finite) == ("forward", "chain/begin", False)
    x, y = batch()
    y[0, 0, 3, 1] = np.nan
    found = examine_step(chain(), x, y)
    assert not found.batch_finite
    assert (found.finding.direction, found.finding.part, found.finding.input_finite) == ("loss", "waveform_l1", False)


def test_an_overflow_of_half_precision_is_a_finding():
    model = chain(keras.layers.Dense(CHANNELS, dtype="mixed_float16", kernel_initializer=keras.initializers.Constant(3e4), name="half"))
    x, y = batch()
    finding = fault(model, x * 100, y)
    assert (finding.direction, finding.layer, finding.operation, finding.largest_input) == ("forward", "chain/half", "matmul", 3e4)


def test_a_plain_loss_of_keras_is_one_part():
    model = Chain(Root(name="odd"))
    model.build((None, SAMPLES, CHANNELS))
    model.compile("sgd", loss="mse")
    found = examine_step(model, *batch())
    assert found.finding is None and found.parts == {"loss": found.loss}
    finding = fault(model, *batch(silent=True))
    assert (finding.direction, finding.layer, finding.operation) == ("backward", "chain/odd", "sqrt")


def test_an_error_of_a_layer_passes_and_all_is_put_back():
    model = chain(Fails(name="fails"))
    with pytest.raises(RuntimeError, match="a fault of its own"):
        examine_step(model, *batch())
    assert not any("call" in vars(layer) for layer in (model, *model.layers_before)) and not hasattr(ops.log, "__wrapped__")
    assert model.handed_over() is None


def test_a_model_that_is_not_compiled_is_refused():
    with pytest.raises(ValueError, match=r"`model` must be a TrackedModel that is built and compiled"):
        examine_step(TinySeparator(), *batch())


@pytest.fixture
def quick_gradients(monkeypatch):
    """JAX takes ten seconds to compile the gradient of a real model operation by operation, and two as a whole."""
    if keras.backend.backend() == "jax":
        import jax

        monkeypatch.setattr(examination, "gradients", lambda function, tensors: list(jax.jit(jax.grad(function))(list(tensors))))


def moises_light():
    model = MoisesLight(stems=STEMS, sample_rate=8000, segment_samples=800, dropout=0.1, **{key: value for key, value in MODEL.items() if key != "name"}, name="moises_light")
    model.build((None, 800, CHANNELS))
    losses = {"waveform_l1": LOSSES["waveform_l1"](), "multi_resolution_complex_stft": LOSSES["multi_resolution_complex_stft"]((256, 128), 64, 1)}
    return compiled(model, losses)


def long_batch():
    y = np.random.default_rng(1).uniform(-0.5, 0.5, (1, len(STEMS), 800, CHANNELS)).astype("float32")
    return y.sum(axis=1), y


def test_the_real_model_stays_sound_and_a_weight_that_is_too_large_is_found(quick_gradients):
    model = moises_light()
    before = state(model)
    found = examine_step(model, *long_batch())
    assert found.finding is None and state(model) == before
    assert {"moises_light/encoder_0/dense", "moises_light/time_transformer_0/attention/norm", "moises_light/last"} <= set(found.scales)
    assert list(found.parts) == ["waveform_l1", "multi_resolution_complex_stft/256", "multi_resolution_complex_stft/128"]
    weight = model.time_transformers[0].expand
    weight.assign(np.full(weight.shape, 1e38))
    finding = fault(model, *long_batch())
    assert (finding.direction, finding.layer, finding.operation) == ("forward", "moises_light/time_transformer_0", "matmul")
    assert finding.place.startswith("kseparation/layers/rotary_attention.py:") and finding.largest_input == pytest.approx(1e38) and finding.input_finite


def test_a_convolution_that_overflows_is_named_on_every_backend(quick_gradients):
    model = moises_light()
    weight = model.last.kernel
    weight.assign(np.full(weight.shape, 3e38))
    finding = fault(model, *long_batch())
    assert (finding.direction, finding.layer, finding.operation) == ("forward", "moises_light/last", "conv")
    assert finding.place.startswith("kseparation/layers/band_convolution.py:")


def test_masks_with_a_loss_of_their_own(quick_gradients):
    model = MaskUNet(STEMS, 8000, CHANNELS, 300, window_samples=32, hop_samples=8, filters=(3,), name="mask_unet")
    model.build((None, 300, CHANNELS))
    model.compile("sgd")
    y = np.random.default_rng(1).uniform(-0.5, 0.5, (1, len(STEMS), 300, CHANNELS)).astype("float32")
    y[:, :, 100:200] = 0.0
    found = examine_step(model, y.sum(axis=1), y)
    assert found.finding is None and list(found.parts) == ["magnitude/vocals", "magnitude/drums"]

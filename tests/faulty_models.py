"""Layers, losses and models with one fault each, whose lines have names."""

import inspect
from pathlib import Path

import keras
import numpy as np
from keras import ops

from kseparation.losses import LOSSES, Objective
from kseparation.models.base import Separator
from kseparation.training import GuardedOptimizer
from kseparation.training.examination import examine_step
from tests.on_backend import numbers
from tests.tiny_separator import CHANNELS, SAMPLES, STEMS, TinySeparator, tiny_batches


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
    return f"tests/faulty_models.py:{next(number for number, text in enumerate(lines, 1) if text.endswith(f'# here: {marker}'))}"


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


class UsesWeights(Chain):
    """Takes the root of a sum over a weight of one of its layers."""

    def call(self, mixture, training=False):
        length = ops.sqrt(ops.sum(ops.square(self.end.kernel * 0.0)))  # here: kernel
        return super().call(mixture, training) * (1.0 + length)


class RootTwice(keras.layers.Layer):
    """Calls a layer with numbers, and before that with zeros."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, features):
        return self.inner(features * 0.0) + self.inner(features)


class RootOfDense(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(CHANNELS, use_bias=False, name="dense")

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, features):
        return features + ops.sqrt(ops.sum(ops.square(self.dense(features))))  # here: root of dense


def divided(_, y_pred):
    """A loss that is infinite."""
    return ops.mean(y_pred) / ops.zeros(())  # here: part


def rooted(_, y_pred):
    """A loss whose gradient is not finite."""
    return ops.sqrt(ops.sum(ops.square(y_pred * 0.0)))  # here: loss root


def fault(model, x, y, **arguments):
    finding = examine_step(model, x, y, **arguments).finding
    assert finding is not None
    return finding


def state(model):
    model_state = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [numbers(variable).tobytes() for variable in model_state]

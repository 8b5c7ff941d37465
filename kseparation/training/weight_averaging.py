"""Exchanging the weights of a model for their running average, and back, bit for bit."""

import contextlib

import keras
from keras import ops

from kseparation.training.guarded_optimizer import GuardedOptimizer


@contextlib.contextmanager
def averaged_weights(model: keras.Model):
    """Puts the averaged weights into the model for the duration of a block; afterwards the raw weights are as they were.

    Does nothing where the optimizer keeps no average or has not yet made a step.

    Args:
        model: compiled with a `GuardedOptimizer`.
    """
    optimizer = model.optimizer
    if not (isinstance(optimizer, GuardedOptimizer) and optimizer.averaging and optimizer.built and int(optimizer.averaged_steps) > 0):
        yield
        return
    raw = [ops.copy(ops.convert_to_tensor(variable)) for variable in model.trainable_variables]
    try:
        for variable, average in zip(model.trainable_variables, optimizer.averages, strict=True):
            variable.assign(ops.copy(ops.convert_to_tensor(average)))
        yield
    finally:
        for variable, value in zip(model.trainable_variables, raw, strict=True):
            variable.assign(value)


class ValidateAveragedWeights(keras.callbacks.Callback):
    """Validates with the averaged weights instead of the raw ones."""

    def __init__(self):
        super().__init__()
        self._exchange = None

    def on_test_begin(self, logs=None):
        self._exchange = averaged_weights(self.model)
        self._exchange.__enter__()

    def on_test_end(self, logs=None):
        if self._exchange is not None:
            self._exchange.__exit__(None, None, None)
            self._exchange = None

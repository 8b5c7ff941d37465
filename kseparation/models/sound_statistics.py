"""Statistics that a forward pass gathers, such as those of a batch norm, taken back where its step is rejected."""

from collections.abc import Callable

import keras
from keras import ops

from kseparation.layers.state_gate import take_back_unless


def step_with_sound_statistics(model: keras.Model, step: Callable, arguments: tuple):
    """Makes a training step of Keras, and gives the statistics of the model their old values where the gradients or the new weights were not sound.

    The optimizer sees only weights. What a layer writes in its forward pass comes before it: a batch that breaks the loss or its gradients may have left its mark there.
    Where gradients are accumulated, each micro-batch is judged by itself: sound ones before the first bad one of a rejected step leave their statistics, finite ones of real examples;
    to take these back too would need a second copy of all statistics in the state.

    Args:
        model: that trains with an optimizer whose variable `sound` tells it, a `GuardedOptimizer`; with another one the step is that of Keras.
        step: `train_step` of Keras, which JAX calls with the state and returns it.
        arguments: of `step`.
    """
    optimizer = model.optimizer
    statistics = [variable for variable in model.non_trainable_variables if keras.backend.is_float_dtype(variable.dtype)]
    if not hasattr(optimizer, "sound") or not statistics:
        return step(*arguments)
    if keras.backend.backend() == "jax":  # whose step is a function of the state
        logs, (trained, others, slots, metrics) = step(*arguments)
        sound = slots[_place(optimizer.sound, optimizer.variables)] > 0
        places = {_place(variable, model.non_trainable_variables) for variable in statistics}
        others = [ops.where(sound, new, old) if place in places else new for place, (old, new) in enumerate(zip(arguments[0][1], others, strict=True))]
        return logs, (trained, others, slots, metrics)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    old = [ops.copy(ops.convert_to_tensor(variable)) for variable in statistics]
    logs = step(*arguments)
    take_back_unless(ops.convert_to_tensor(optimizer.sound) > 0, statistics, old)
    return logs


def _place(variable, variables):
    return next(place for place, other in enumerate(variables) if other is variable)

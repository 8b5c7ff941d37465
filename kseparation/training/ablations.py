"""What a step becomes when something is taken away from it: examples, parts of the loss, the state it came from."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kseparation.losses import Objective
from kseparation.training.state import write_state


def smallest_batch(batch: Sequence[Any], fails: Callable[[Sequence[Any]], bool]) -> list[int]:
    """Returns the examples that are enough to fail, found by halving; all of them where neither half fails by itself.

    Args:
        batch: arrays, or mappings of them, whose first axis is that of the examples; it fails as a whole.
        fails: function of such a batch.

    Example:

    >>> smallest_batch([np.array([0, 0, 0, 7, 0])], lambda batch: (batch[0] == 7).any())
    [3]
    """
    examples = list(range(len(keras.tree.flatten(batch)[0])))
    while len(examples) > 1:
        middle = len(examples) // 2
        for half in (examples[:middle], examples[middle:]):
            if fails(keras.tree.map_structure(lambda array: array[half], batch)):
                examples = half
                break
        else:
            break
    return examples


def parts_at_fault(model: keras.Model, fails: Callable[[], bool]) -> list[str]:
    """Returns the losses of the model's `Objective` each of which, left out alone, makes the step sound; empty where it has but one, or none.

    Args:
        model: compiled.
        fails: runs the step.
    """
    loss = model.loss
    if not isinstance(loss, Objective) or sum(weight > 0 for weight in loss.weights.values()) < 2:
        return []
    found = []
    for name, weight in list(loss.weights.items()):
        if not weight:
            continue
        with _without(loss, name):
            if not fails():
                found.append(name)
    return found


@contextlib.contextmanager
def _without(loss, name):
    weight, loss.weights[name] = loss.weights[name], 0.0
    try:
        yield
    finally:
        loss.weights[name] = weight


def takes_weights_of(model: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Sets the weights of a model from a state whose optimizer is another one's, as in another precision."""
    weights = [value for name, value in sorted(state.items()) if name.split("/", 2)[1] == "model"]
    for variable, value in zip(model.variables, weights, strict=True):
        variable.assign(value)


def fails_from(model: keras.Model, state: Mapping[str, np.ndarray], fails: Callable[[], bool]) -> bool:
    """Whether a step fails from another state."""
    write_state(model, state)
    return fails()

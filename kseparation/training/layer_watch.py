"""Seeing every call of a layer inside a model, without a change to the model."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras


def layer_paths(model: keras.Model) -> list[tuple[keras.layers.Layer, str]]:
    """Returns the model and every layer inside it with its path, such as `moises_light/encoder_0/dense`.

    Args:
        model: any Keras model that has been built.
    """
    found, seen = [], set()

    def visit(layer, owner):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        # Keras gives a path to those only that were built inside of their owner.
        path = layer.path or f"{owner}{layer.name}"
        found.append((layer, path))
        for inner in layer._layers:  # those in lists too, which no public attribute of a layer has
            visit(inner, f"{path}/")

    visit(model, "")
    return found


@contextlib.contextmanager
def watched_layers(model: keras.Model, around: Callable) -> Iterator[None]:
    """Puts a function between the caller and each layer of a model, the model itself included, for the duration of a block.

    Args:
        model: the model.
        around: called with (layer, path, its `call`, positional arguments, keyword arguments); makes the call and returns what it gives.
    """
    with contextlib.ExitStack() as stack:
        for layer, path in layer_paths(model):
            attributes = vars(layer)  # past the bookkeeping of Keras and torch
            if "call" in attributes:
                stack.callback(attributes.__setitem__, "call", attributes["call"])
            else:
                stack.callback(attributes.__delitem__, "call")
            attributes["call"] = _watched(layer, path, layer.call, around)
        yield


def _watched(layer, path, call, around):
    @functools.wraps(call)
    def watched(*args, **kwargs):
        return around(layer, path, call, args, kwargs)

    return watched

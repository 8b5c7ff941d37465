"""A look at the outputs of the layers of a model, or a change to them, from outside."""

import contextlib
from collections.abc import Callable

import keras


def wrap_call(layer: keras.layers.Layer, wrap: Callable) -> Callable[[], None]:
    """Replaces `call` of one layer by `wrap(call)`; returns the function that undoes it.

    Keras looks `call` up on the object each time, so that a step that was compiled before goes on without. Undo in the reverse order.
    """
    # Not as an attribute, which Keras and torch would track.
    attributes, before = layer.__dict__, layer.__dict__.get("call")
    call = layer.call
    wrapped = wrap(call)
    wrapped.__wrapped__ = call  # Keras names the arguments of a layer by its signature
    attributes["call"] = wrapped

    def undo():
        if before is None:
            attributes.pop("call", None)
        else:
            attributes["call"] = before

    return undo


def watch_output(layer: keras.layers.Layer, see: Callable) -> Callable[[], None]:
    """Lets `see` have each output of a layer, until the function that is returned is called.

    Args:
        layer: any layer.
        see: function of the output; what it returns takes its place, unless it is None.

    Example:

    >>> layer = keras.layers.Dense(2)
    >>> shapes = []
    >>> stop = watch_output(layer, lambda output: shapes.append(tuple(output.shape)))
    >>> _ = layer(keras.ops.ones((3, 5)))
    >>> stop()
    >>> shapes
    [(3, 2)]
    """

    def wrap(call):
        def watched(*arguments, **keywords):
            output = call(*arguments, **keywords)
            seen = see(output)
            return output if seen is None else seen

        return watched

    return wrap_call(layer, wrap)


def called_layers(model: keras.Model, example) -> dict[str, keras.layers.Layer]:
    """Returns the layers with weights that a forward pass calls, by path in the order of their first output; of layers inside each other the innermost.

    Args:
        model: built.
        example: a small input; the model works on it once, outside a training.
    """
    called, inside, holders = {}, [], set()

    def wrap(layer):
        def wrapper(call):
            def entered(*arguments, **keywords):
                holders.update(outer.path for outer in inside)
                inside.append(layer)
                try:
                    return call(*arguments, **keywords)
                finally:
                    inside.pop()
                    called.setdefault(layer.path, layer)

            return entered

        return wrap_call(layer, wrapper)

    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers(include_self=False, recursive=True):
            if layer.weights:
                stack.callback(wrap(layer))
        model(example, training=False)
    return {path: layer for path, layer in called.items() if path not in holders}

import inspect

import keras
import numpy as np

from kseparation.layers.output_watch import called_layers, watch_output, wrap_call
from kseparation.layers.rotary_attention import RotaryTransformer
from tests.on_backend import numbers


def test_an_output_can_be_seen_and_replaced_and_is_itself_again() -> None:
    layer = keras.layers.Dense(2, kernel_initializer="ones")
    x = np.ones((1, 3), "float32")
    seen = []
    stop = watch_output(layer, lambda output: seen.append(numbers(output)))
    np.testing.assert_array_equal(numbers(layer(x)), [[3, 3]])
    stop_second = watch_output(layer, lambda output: output * 2)
    np.testing.assert_array_equal(numbers(layer(x)), [[6, 6]])
    stop_second()
    np.testing.assert_array_equal(numbers(layer(x)), [[3, 3]])
    stop()
    layer(x)
    assert len(seen) == 3 and "call" not in layer.__dict__
    np.testing.assert_array_equal(seen[0], [[3, 3]])


def test_the_signature_of_a_layer_stays() -> None:
    layer = keras.layers.Dropout(0.5)
    before = inspect.signature(layer.call)
    undo = wrap_call(layer, lambda call: lambda *arguments, **keywords: call(*arguments, **keywords))
    assert inspect.signature(layer.call) == before
    undo()


def test_the_innermost_layers_are_found_in_the_order_of_their_calls() -> None:
    inner = [keras.layers.Dense(6, name="first"), RotaryTransformer(heads=1, head_size=4, name="middle"), keras.layers.Dense(6, name="last")]
    model = keras.Sequential([keras.Input((5, 6)), *inner])
    paths = list(called_layers(model, np.zeros((1, 5, 6), "float32")))
    assert paths[0].endswith("/first") and paths[-1].endswith("/last")
    assert all("/middle/" in path for path in paths[1:-1]) and len(paths) == 4  # the other weights are multiplied by without a call
    assert all("call" not in layer.__dict__ for layer in model._flatten_layers())

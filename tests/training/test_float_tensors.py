import keras
import numpy as np
import pytest
from keras import ops

from kseparation.training import float_tensors
from kseparation.training.float_tensors import (
    all_finite,
    can_be_seen,
    gradients,
    largest,
    norm,
    replace_float_tensors,
    smallest,
)
from tests.on_backend import numbers


def nest():
    return {"a": [ops.convert_to_tensor(np.array([3.0, -4.0], "float32")), None, "text"], "b": (keras.Variable([0.5]), ops.convert_to_tensor([7, 8]), ops.zeros((0, 2)))}


@pytest.fixture(params=["in NumPy", "on the device"])
def place(request, monkeypatch):
    """What is on a CPU is measured in NumPy, all else where it is."""
    monkeypatch.setattr(float_tensors, "_is_on_cpu", lambda _: request.param == "in NumPy")


def test_measures_of_what_is_finite(place):
    assert all_finite(nest()) and all_finite([]) and all_finite(None)
    assert (largest(nest()), smallest(nest())) == (4.0, 0.5)
    assert norm(nest()["a"][0]) == pytest.approx(5.0)
    assert norm(ops.convert_to_tensor(np.array([3e30, 4e30], "float32"))) == pytest.approx(5e30)
    assert (largest(None), smallest(None), norm(None)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_measures_of_what_is_not_finite(place, dtype):
    bad = ops.cast(ops.convert_to_tensor(np.array([2.0, -np.inf, 1.0], "float32")), dtype)
    assert not all_finite([ops.ones(2), bad])
    assert (largest(bad), largest(bad, finite_only=False), smallest(bad), norm(bad)) == (2.0, np.inf, 1.0, np.inf)
    worse = ops.convert_to_tensor(np.array([2.0, np.nan], "float32"))
    assert (largest(worse), smallest(worse)) == (2.0, 2.0) and np.isnan(largest(worse, finite_only=False)) and np.isnan(norm(worse))


def test_replaced_are_floating_point_tensors_only():
    replaced = replace_float_tensors(nest(), lambda place, tensor: tensor + 10.0 * place)
    assert numbers(replaced["a"][0]).tolist() == [3.0, -4.0] and numbers(replaced["b"][0]).tolist() == [10.5]
    assert replaced["a"][1:] == [None, "text"] and numbers(replaced["b"][1]).tolist() == [7, 8]


def test_gradients_of_a_list():
    tensors = [ops.convert_to_tensor(np.array([1.0, 2.0], "float32")), ops.convert_to_tensor(3.0), ops.convert_to_tensor(4.0)]
    squares, factor, unused = gradients(lambda leaves: leaves[1] * ops.sum(ops.square(leaves[0])), tensors)
    assert numbers(squares).tolist() == [6.0, 12.0] and numbers(factor) == 5.0
    assert unused is None or numbers(unused) == 0.0
    assert all(gradient is None or numbers(gradient) == 0.0 for gradient in gradients(lambda _: ops.ones(()), tensors[1:]))


def traced(function):
    """Calls a function of a vector inside of each kind of tracing that the backend has."""
    vector = ops.ones(2)
    if keras.backend.backend() == "torch":
        import torch  # its transforms

        torch.compile(function, backend="eager")(vector)
        torch.func.grad(function)(vector)
        torch.func.vmap(function)(ops.ones((3, 2)))
        function(torch.ones(2, device="meta"))
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # its graphs

        tf.function(function)(vector)
        tf.function(function, jit_compile=True)(vector)
        tf.vectorized_map(function, ops.ones((3, 2)))
    else:
        import jax  # its transforms

        jax.jit(function)(vector)
        jax.grad(function)(vector)
        jax.vmap(function)(ops.ones((3, 2)))


def test_what_is_being_traced_has_no_value_and_counts_as_finite(place):
    seen = []

    def function(vector):
        bad = vector * np.nan
        seen.append((can_be_seen(bad), can_be_seen({"all": [ops.ones(1), bad]}), all_finite(bad), largest(bad)))
        return ops.sum(vector)

    traced(function)
    assert len(seen) >= 3 and set(seen) == {(False, False, True, 0.0)}
    seen.clear()
    function(ops.ones(2))
    assert seen == [(True, True, False, 0.0)]


def test_an_error_of_the_device_is_none_of_a_tensor_without_a_value(place, monkeypatch):
    def fail(*_):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(ops, "convert_to_numpy", fail)
    monkeypatch.setattr(ops, "cast", fail)
    tensor = ops.convert_to_tensor(np.ones(3, "float16"))
    for look in (all_finite, largest, smallest, norm, can_be_seen):
        with pytest.raises(RuntimeError, match="the device is gone"):
            look(tensor)

"""Finding, replacing, measuring and differentiating the floating-point tensors of any nest of values, on every backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def float_tensors(nest: Any) -> list:
    """Returns the floating-point tensors of a nest of values in their order, variables as what they hold.

    Args:
        nest: lists, tuples and dictionaries of anything.
    """
    return [leaf for leaf in map(_tensor, keras.tree.flatten(nest)) if leaf is not None]


def replace_float_tensors(nest: Any, replace: Callable) -> Any:
    """Returns the nest with other tensors.

    Args:
        nest: as for `float_tensors`.
        replace: called with the place in `float_tensors` and the tensor; returns the one that takes its place.
    """
    place = iter(range(len(keras.tree.flatten(nest))))

    def new(leaf):
        tensor = _tensor(leaf)
        return leaf if tensor is None else replace(next(place), tensor)

    return keras.tree.map_structure(new, nest)


def _tensor(leaf):
    if isinstance(leaf, keras.Variable):
        leaf = leaf.value
    elif not keras.ops.is_tensor(leaf):
        return None
    return leaf if keras.backend.is_float_dtype(keras.backend.standardize_dtype(leaf.dtype)) else None


def all_finite(nest: Any) -> bool:
    """Returns whether all numbers are; what cannot be looked at, inside of a function that is being traced, counts as finite."""
    return all(bool(kit.all(kit.isfinite(values))) for kit, values in _values(nest))


def largest(nest: Any, finite_only: bool = True) -> float:
    """Returns the largest magnitude, 0 where there are no numbers.

    Args:
        nest: as for `float_tensors`.
        finite_only: whether numbers that are not finite are left out; else the result is NaN or infinite where one is.
    """
    found = [0.0]
    for kit, values in _values(nest):
        magnitudes = kit.abs(values)
        found.append(float(kit.max(kit.where(kit.isfinite(magnitudes), magnitudes, 0.0) if finite_only else magnitudes)))
    return float(np.max(found))


def smallest(nest: Any) -> float:
    """Returns the smallest magnitude of the numbers that are not NaN, 0 where there are none."""
    found = [float(kit.min(kit.where(kit.isnan(values), np.inf, kit.abs(values)))) for kit, values in _values(nest)]
    return min(found, default=0.0)


def norm(tensor: Any) -> float:
    """Returns the root of the sum of squares of one tensor, infinite only where a number is."""
    size = largest(tensor, finite_only=False)
    if not 0 < size < np.inf:
        return size
    return float(np.sqrt(sum(float(kit.sum(kit.square(values / size))) for kit, values in _values(tensor)))) * size


def can_be_seen(nest: Any) -> bool:
    """Returns whether all floating-point tensors of a nest have a value yet; inside of a function that is being traced they have none."""
    return len(list(_values(nest))) == sum(0 not in tuple(tensor.shape) for tensor in float_tensors(nest))


def _values(nest):
    """Yields what computes with the values of each tensor, and the values: NumPy on a CPU, where JAX would compile each operation for each shape."""
    for tensor in float_tensors(nest):
        if 0 in tuple(tensor.shape) or not _has_value(tensor):
            continue
        if _is_on_cpu(tensor):
            if keras.backend.standardize_dtype(tensor.dtype) not in ("float32", "float64"):
                tensor = keras.ops.cast(keras.ops.stop_gradient(tensor), "float32")  # TensorFlow's scalars in bfloat16 are none to NumPy
            yield np, np.asarray(keras.ops.convert_to_numpy(tensor))
        else:
            yield keras.ops, keras.ops.cast(keras.ops.stop_gradient(tensor), "float32")


def _has_value(tensor):
    # Keras has no question for it. To look and to catch what is raised would take an error of the device for a tensor that is being traced, and so for a finite one.
    backend = keras.backend.backend()
    if backend == "torch":
        import torch  # what traces

        # Within a transform of `torch.func` what is computed from a plain tensor has none either.
        return not (tensor.is_meta or torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None)
    if backend == "tensorflow":
        import tensorflow as tf  # what traces

        return not tf.is_symbolic_tensor(tf.convert_to_tensor(tensor))  # a variable has a value only outside of a graph
    import jax  # what traces

    return not isinstance(tensor, jax.core.Tracer)


def _is_on_cpu(tensor):
    return "cpu" in str(tensor.device).lower()


def gradients(function: Callable, tensors: list) -> list:
    """Returns the gradient of a scalar function with respect to each of its tensors, None where the function does not depend on it.

    Args:
        function: takes the list of tensors, as the backend differentiates them; returns a scalar.
        tensors: where the gradient is taken.
    """
    # Keras has no gradient of a function that is the same on every backend.
    backend = keras.backend.backend()
    if backend == "torch":
        import torch  # its gradients

        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        with torch.enable_grad():
            value = function(leaves)
            if not value.requires_grad:
                return [None] * len(leaves)
            return list(torch.autograd.grad(value, leaves, allow_unused=True))
    if backend == "tensorflow":
        import tensorflow as tf  # its gradients

        leaves = [tf.identity(tensor) for tensor in tensors]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(leaves)
            value = function(leaves)
        return [None if found is None else tf.convert_to_tensor(found) for found in tape.gradient(value, leaves)]
    import jax  # its gradients

    return list(jax.grad(function)(list(tensors)))

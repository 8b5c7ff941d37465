"""Values and gradients of functions and models on whatever backend runs, as NumPy."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops


def numbers(tensor: Any) -> np.ndarray:
    """Returns a copy of a tensor or variable."""
    tensor = ops.convert_to_tensor(tensor)
    return np.array(tensor.detach().cpu().numpy() if keras.backend.backend() == "torch" else tensor)


def compute(function: Callable, *arrays: np.ndarray) -> Any:
    """Returns the value of a pure function of tensors; on JAX compiled as a whole, which is much faster than op by op."""
    if isinstance(function, keras.layers.Layer) and not function.built:
        # Weights that are made inside a compiled function are lost to JAX.
        function(*keras.tree.map_structure(ops.convert_to_tensor, arrays))
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        with torch.no_grad():
            result = function(*keras.tree.map_structure(ops.convert_to_tensor, arrays))
    elif backend == "jax":
        import jax

        result = jax.jit(function)(*arrays)
    else:
        result = function(*keras.tree.map_structure(ops.convert_to_tensor, arrays))
    return keras.tree.map_structure(numbers, result)


def compute_parts(loss: Any, true: np.ndarray, pred: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `loss.parts(true, pred)` in its own order; JAX would sort the names on the way out of a compiled function."""
    names = []

    def values(true, pred):
        parts = loss.parts(true, pred)
        names[:] = parts
        return list(parts.values())

    return dict(zip(names, compute(values, true, pred)))


def read_in_half(weight: Any) -> np.ndarray:
    """Returns a weight as the layers around it read it under the policy `mixed_bfloat16`."""
    reader = keras.layers.Lambda(lambda _: ops.cast(ops.convert_to_tensor(weight), "float32"), dtype="mixed_bfloat16")
    return numbers(reader(np.zeros(1, "float32")))


def gradient_of(function: Callable, array: np.ndarray) -> np.ndarray:
    """Returns the gradient of a scalar function of one tensor at `array`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(array)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        return tape.gradient(value, tensor).numpy()
    if backend == "torch":
        import torch

        tensor = torch.tensor(array, requires_grad=True)
        with torch.enable_grad():
            function(tensor).backward()
        return tensor.grad.numpy()
    import jax

    return np.asarray(jax.jit(jax.grad(function))(array))


@contextlib.contextmanager
def without_graphs():
    """Lets TensorFlow compute step by step: a graph of the real model takes longer to build than a few steps take."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though .* this option does not apply to tf.data functions")
            yield
    finally:
        tf.config.run_functions_eagerly(False)


class GradientRecorder(keras.optimizers.Optimizer):
    """Puts into each weight its gradient, so that one step of any trainer tells all gradients on every backend."""

    def __init__(self):
        super().__init__(learning_rate=1.0)

    def update_step(self, gradient, variable, learning_rate):
        self.assign(variable, ops.cast(gradient, variable.dtype))


def weight_gradients(model: keras.Model, x: np.ndarray, y: np.ndarray, loss: keras.losses.Loss) -> dict[str, np.ndarray]:
    """Returns the gradient of every trainable weight by path, in training mode. The weights of the model may be lost."""
    if not model.built:
        model.build(x.shape)
    paths = [weight.path for weight in model.trainable_weights]
    assert paths
    if keras.backend.backend() != "jax":
        model.compile(optimizer=GradientRecorder(), loss=loss, run_eagerly=True, jit_compile=False)
        model.train_on_batch(x, y)
        return dict(zip(paths, map(numbers, model.trainable_weights)))
    import jax

    def total(trainable, others, x, y):
        outputs, _ = model.stateless_call(trainable, others, x, training=True)
        return loss(y, outputs)

    # Run once, so that time spent on optimising the program is lost.
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    values = [[weight.value for weight in weights] for weights in (model.trainable_variables, model.non_trainable_variables)]
    return dict(zip(paths, map(np.asarray, jax.jit(jax.grad(total), compiler_options=quick)(*values, x, y))))

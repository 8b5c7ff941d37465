"""Sizes of tensors."""

import keras
from keras import ops


def euclidean_norm(x):
    """Returns the root of the sum of all squares of a tensor of any shape, a float32 scalar.

    In one pass where the backend has one: squares that are written down first take twice as long.

    Example:

    >>> float(euclidean_norm(ops.convert_to_tensor([[3.0], [4.0]])))
    5.0
    """
    if keras.backend.backend() == "torch":
        import torch  # asked a thousand times in a training step, where the three operations below take half a percent of it

        return torch.linalg.vector_norm(ops.convert_to_tensor(x), dtype=torch.float32)
    return ops.norm(ops.reshape(ops.cast(x, "float32"), (-1,)))

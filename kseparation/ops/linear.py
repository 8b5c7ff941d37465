"""Products of the last axis with a matrix, fast on every backend."""

from keras import ops


def linear(features, kernel):
    """Multiplies the last axis of a tensor by a matrix, as one product of two matrices.

    Left to itself a product of a tensor with a matrix is taken for many small ones: half as fast on TensorFlow and JAX, and on torch where the tensor is a transposed view
    (`benchmarks/linear.py` prints the seconds of both).

    Args:
        features: `(batch, ..., inputs)`.
        kernel: `(inputs, outputs)`.

    Returns:
        `(batch, ..., outputs)`.
    """
    product = ops.matmul(ops.reshape(features, (-1, features.shape[-1])), kernel)
    return ops.reshape(product, (-1, *ops.shape(features)[1:-1], kernel.shape[-1]))

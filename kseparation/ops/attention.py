"""Scaled dot-product attention that is fast on every backend."""

import keras
from keras import ops

from kseparation.ops.devices import runs_on_cpu

# Below this many positions a single sequence is too little work for a step of a loop.
LONG_SEQUENCE = 128


def attend(query, key, value):
    """Lets every position of a sequence take the mean of all values, weighted by the softmax of its scaled dot products.

    torch has a fused kernel. The others write the scores of all sequences to memory and read them back several times, which on a CPU takes longer than the
    arithmetic: there long sequences are taken one at a time, so that their scores stay in the cache (`benchmarks/attention.py` prints the seconds of both).

    Args:
        query: `(batch, positions, heads, size)`.
        key: the same shape.
        value: the same shape.

    Returns:
        The same shape.

    References: Vaswani et al. 2017, Attention Is All You Need (arXiv 1706.03762), equation 1; Dao et al. 2022, FlashAttention (arXiv 2205.14135), appendix B, for the
    gradient.
    """
    positions = query.shape[1]
    if keras.backend.backend() == "torch" or positions is None or positions < LONG_SEQUENCE or not runs_on_cpu():
        return ops.dot_product_attention(query, key, value)
    return attend_one_by_one(query, key, value)


def attend_one_by_one(query, key, value):
    """The same for one sequence after the other; positions must be known.

    Nothing of the size of the scores outlives its sequence: the backward pass computes them again, which takes less than to write and read them. JAX's
    forward mode (`jvp`) is not defined for it.
    """
    size = query.shape[-1]

    def rows(tensor, axes):  # float32, for half precision cannot add up hundreds of weights
        return ops.cast(ops.transpose(tensor, axes), "float32")

    query, value = (rows(tensor, (0, 2, 1, 3)) for tensor in (query, value))
    attended = _attend(query * size**-0.5, rows(key, (0, 2, 3, 1)), value)
    return ops.cast(ops.transpose(attended, (0, 2, 1, 3)), key.dtype)


@ops.custom_gradient
def _attend(query, key, value):
    """Attention of queries and values `(batch, heads, positions, size)` to keys `(batch, heads, size, positions)`."""
    attended, normalizers = ops.map(_attend_sequence, (query, key, value))

    def gradient(*upstream_of_call, upstream=None):
        upstream = upstream_of_call[0] if upstream is None else upstream
        projection = ops.sum(upstream * attended, axis=-1, keepdims=True)
        tensors = (query, key, value, normalizers, upstream, projection)
        # One head at a time: five matrices of the size of its scores stay in the cache.
        flat = [ops.reshape(tensor, (-1, *tensor.shape[2:])) for tensor in tensors]
        gradients = ops.map(_gradients_of_head, tuple(flat))
        return tuple(ops.reshape(found, (-1, *tensor.shape[1:])) for found, tensor in zip(gradients, tensors[:3], strict=True))

    return attended, gradient


def _attend_sequence(parts):
    """One sequence, and the logarithms of the sums over its weights."""
    query, key, value = parts
    scores = ops.matmul(query, key)
    largest = ops.max(scores, axis=-1, keepdims=True)
    weights = ops.exp(scores - largest)
    sums = ops.sum(weights, axis=-1, keepdims=True)
    # Divided after the product with the values, which are few.
    return ops.matmul(weights, value) / sums, largest + ops.log(sums)


def _gradients_of_head(parts):
    query, key, value, normalizers, upstream, projection = parts
    weights = ops.exp(ops.matmul(query, key) - normalizers)
    of_scores = weights * (ops.matmul(upstream, ops.transpose(value)) - projection)
    return ops.matmul(of_scores, ops.transpose(key)), ops.matmul(ops.transpose(query), of_scores), ops.matmul(ops.transpose(weights), upstream)

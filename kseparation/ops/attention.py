"""Scaled dot-product attention that is fast on every backend."""

import functools

import keras
from keras import ops

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

    References: Vaswani et al. 2017, Attention Is All You Need (arXiv 1706.03762), equation 1.
    """
    positions = query.shape[1]
    if keras.backend.backend() == "torch" or positions is None or positions < LONG_SEQUENCE or not _runs_on_cpu():
        return ops.dot_product_attention(query, key, value)
    return attend_one_by_one(query, key, value)


def attend_one_by_one(query, key, value):
    """The same for each sequence and head after the other; positions must be known."""
    _, positions, heads, size = query.shape

    def rows(tensor):  # float32, for half precision cannot add up hundreds of weights
        return ops.cast(ops.reshape(ops.transpose(tensor, (0, 2, 1, 3)), (-1, positions, size)), "float32")

    attended = ops.map(_attend_one, (rows(query * size**-0.5), rows(key), rows(value)))
    attended = ops.transpose(ops.reshape(attended, (-1, heads, positions, size)), (0, 2, 1, 3))
    return ops.cast(attended, query.dtype)


def _attend_one(sequence):
    query, key, value = sequence
    scores = ops.matmul(query, ops.transpose(key))
    weights = ops.exp(scores - ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True)))
    # Divided after the product with the values, which are few.
    return ops.matmul(weights, value) / ops.sum(weights, axis=-1, keepdims=True)


@functools.cache
def _runs_on_cpu() -> bool:
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())

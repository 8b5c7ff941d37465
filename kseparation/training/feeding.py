"""Batches in the form in which `fit` takes them."""

from collections.abc import Generator, Sequence
from typing import Any

import keras


def fit_input(source: Generator | keras.utils.PyDataset, shapes: Sequence[tuple[int, ...]]) -> Any:
    """Returns the source of batches itself, or on TensorFlow a `tf.data.Dataset` of it.

    Left to itself Keras has `tf.data` tune its buffers in a thread, which sleeps longer and longer, and which the end of every reading waits for: a validation of 6 s
    took 10 or 20, for the thread sleeps 10 ms and twice as long each time. Without tuning nothing waits.

    Args:
        source: batches without end, or a set of them that is read anew at each validation; float32.
        shapes: of each part of a batch (mixtures, stems), without the number of examples.
    """
    if keras.backend.backend() != "tensorflow":
        return source
    import tensorflow as tf  # Keras switches the tuning off only where several workers of its own read

    again = isinstance(source, keras.utils.PyDataset)
    dataset = tf.data.Dataset.from_generator(
        (lambda: map(source.__getitem__, range(len(source)))) if again else (lambda: source),
        output_signature=tuple(tf.TensorSpec((None, *shape), tf.float32) for shape in shapes),
    )
    if again:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(source)))
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)

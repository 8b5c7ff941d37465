"""Batches in the form in which `fit` takes them."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


def fit_input(source: Iterator | keras.utils.PyDataset, example: tuple[np.ndarray, np.ndarray]) -> Any:
    """Returns the source of batches itself, or on TensorFlow a `tf.data.Dataset` of it.

    Left to itself Keras has `tf.data` tune its buffers in a thread, which sleeps longer and longer, and which the end of every reading waits for: a
    validation of 6 s took 10 or 20, for the thread sleeps 10 ms and twice as long each time. Without tuning nothing waits.

    Args:
        source: batches without end, or a set of them that is read anew at each validation.
        example: a batch (mixtures, stems); all batches have its shapes but for their number of examples.
    """
    if keras.backend.backend() != "tensorflow":
        return source
    import tensorflow as tf  # keras has no other way to switch the tuning off

    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in example)
    again = isinstance(source, keras.utils.PyDataset)
    dataset = tf.data.Dataset.from_generator((lambda: map(source.__getitem__, range(len(source)))) if again else (lambda: source), output_signature=signature)
    if again:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(source)))
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)

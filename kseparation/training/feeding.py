"""Batches in the form in which `fit` takes them."""

from collections.abc import Generator
from typing import Any

import keras


def spec_of(batch: Any) -> Any:
    """Returns `KerasTensor`s in the place of the arrays of a batch, for any number of examples."""
    return keras.tree.map_structure(lambda array: keras.KerasTensor((None, *array.shape[1:]), array.dtype.name), batch)


def fit_input(source: Generator | keras.utils.PyDataset, spec: Any) -> Any:
    """Returns the source of batches itself, or on TensorFlow a `tf.data.Dataset` of it.

    Left to itself Keras has `tf.data` tune its buffers in a thread, which sleeps longer and longer, and which the end of every reading waits for: a validation of 6 s
    took 10 or 20, for the thread sleeps 10 ms and twice as long each time. Without tuning nothing waits.

    Args:
        source: batches without end, or a set of them that is read anew at each validation.
        spec: of a batch, what `spec_of` gives.
    """
    if keras.backend.backend() != "tensorflow":
        return source
    import tensorflow as tf  # Keras switches the tuning off only where several workers of its own read

    again = isinstance(source, keras.utils.PyDataset)
    dataset = tf.data.Dataset.from_generator(
        (lambda: map(source.__getitem__, range(len(source)))) if again else (lambda: source),
        output_signature=keras.tree.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), tuple(spec)),
    )
    if again:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(source)))
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)

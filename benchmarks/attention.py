"""Seconds of attention along the frequency axis of `paper_small` on 6 s of audio: all sequences at once, and one at a time.

    KERAS_BACKEND=jax python benchmarks/attention.py
"""

import statistics
import time

import keras
import numpy as np
from keras import ops

from kseparation.ops.attention import attend_one_by_one

SHAPE = (33, 512, 4, 32)  # frames, bins, heads, features
ROUNDS = 5


class Attention(keras.layers.Layer):
    """Attention of a sequence to itself in one form, behind a dense layer, so that a gradient is needed."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.dense = keras.layers.Dense(SHAPE[-1])

    def call(self, features):
        features = self.dense(features)
        return self.function(features, features, features)


def main() -> None:
    """Prints inference and training step of both forms."""
    features = np.random.default_rng(0).standard_normal(SHAPE).astype("float32")
    print(f"{keras.backend.backend()}, median of {ROUNDS} in ms")
    for name, function in (("all at once", ops.dot_product_attention), ("one at a time", attend_one_by_one)):
        model = keras.Sequential([keras.Input(SHAPE[1:]), Attention(function)])
        model.compile("sgd", "mae", jit_compile=keras.backend.backend() != "torch", auto_scale_loss=False)
        for task in (lambda model=model: model.predict_on_batch(features), lambda model=model: model.train_on_batch(features, features)):
            taken = []
            for _ in range(ROUNDS + 1):
                start = time.perf_counter()
                task()
                taken.append(time.perf_counter() - start)
            name += f"  {1000 * statistics.median(taken[1:]):.0f}"
        print(name, "(inference, training)", flush=True)


if __name__ == "__main__":
    main()

"""Seconds of a 5 x 5 convolution with a stride of two, and of its transpose: by the backend's own, and as a 3 x 3 convolution over squares, which computes the same numbers.

    KERAS_BACKEND=jax python benchmarks/strided_convolution.py

Shapes are those of a mask U-Net on 3 s of stereo.
"""

import statistics
import time

import keras
import numpy as np

from kseparation.layers import StridedConvolution, TransposedConvolution

# batch, frames, bins, channels; filters
DOWN = (((8, 128, 2048, 2), 8), ((8, 64, 1024, 8), 16), ((8, 16, 256, 32), 64))
UP = (((8, 64, 1024, 16), 2), ((8, 32, 512, 32), 8), ((8, 8, 128, 128), 32))
ROUNDS = 5


def milliseconds(layer: keras.layers.Layer, shape: tuple[int, ...]) -> str:
    """Median of inference and of a training step."""
    model = keras.Sequential([keras.Input(shape[1:]), keras.layers.Dense(shape[-1]), layer])
    model.compile("sgd", "mae", jit_compile=keras.backend.backend() != "torch", auto_scale_loss=False)
    features = np.random.default_rng(0).standard_normal(shape).astype("float32")
    target = model.predict_on_batch(features)
    medians = []
    for task in (lambda: model.predict_on_batch(features), lambda: model.train_on_batch(features, target)):
        taken = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            task()
            taken.append(time.perf_counter() - start)
        medians.append(f"{1000 * statistics.median(taken[1:]):.0f}")
    return " / ".join(medians)


def main() -> None:
    """Prints a table."""
    print(f"{keras.backend.backend()}, median of {ROUNDS} in ms, inference / training step")
    for own, ours, cases in ((keras.layers.Conv2D, StridedConvolution, DOWN), (keras.layers.Conv2DTranspose, TransposedConvolution, UP)):
        for shape, filters in cases:
            strided = milliseconds(own(filters, 5, strides=2, padding="same"), shape)
            print(f"{ours.__name__} {shape} -> {filters}: own {strided}, over squares {milliseconds(ours(filters), shape)}", flush=True)


if __name__ == "__main__":
    main()

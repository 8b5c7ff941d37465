"""Seconds of a training step of one band-wise convolution in the two forms that compute the same numbers.

    KERAS_BACKEND=jax python benchmarks/band_convolution.py

`grouped` is the native grouped convolution, `per_band` one convolution for each band;
`BandConvolution` is what the package picks. Shapes are those of the finest and the coarsest level of the presets `demo` and `paper_small` on 3 s of audio.
"""

import statistics
import time

import keras
import numpy as np
from keras import ops

from kseparation.layers import BandConvolution

BANDS = 4
# name: batch, frames, bins of a band, channels
SHAPES = {"demo, finest": (4, 36, 256, 32), "demo, coarsest": (4, 9, 256, 96), "paper_small, finest": (1, 136, 512, 32), "paper_small, coarsest": (1, 17, 512, 128)}
ROUNDS = 5


def grouped(features, kernel):
    """Native grouped convolution."""
    return ops.conv(features, kernel, padding="same", data_format="channels_last")


def per_band(features, kernel):
    """One convolution for each band."""
    pairs = zip(ops.split(features, BANDS, axis=-1), ops.split(kernel, BANDS, axis=-1), strict=True)
    return ops.concatenate([grouped(part, kernel) for part, kernel in pairs], axis=-1)


class Form(keras.layers.Layer):
    """One convolution in one form."""

    def __init__(self, function, filters):
        super().__init__()
        self.function, self.filters = function, filters

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, 3, input_shape[-1] // BANDS, self.filters))

    def call(self, features):
        return self.function(features, ops.convert_to_tensor(self.kernel))


def seconds(layer, shape) -> float:
    """Median seconds of a forward and backward pass."""
    # A layer in front makes the gradient of the features necessary too.
    model = keras.Sequential([keras.Input(shape[1:]), keras.layers.Dense(shape[-1]), layer])
    jit = keras.backend.backend() != "torch"
    model.compile("sgd", "mae", jit_compile=jit, auto_scale_loss=False)
    features = np.random.default_rng(0).standard_normal(shape).astype("float32")
    taken = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        model.train_on_batch(features, features)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def main() -> None:
    """Prints a table."""
    print(f"{keras.backend.backend()}, median of {ROUNDS} in ms")
    for name, shape in SHAPES.items():
        forms = {form.__name__: Form(form, shape[-1]) for form in (grouped, per_band)}
        forms["BandConvolution"] = BandConvolution(shape[-1], 3, BANDS)
        row = ", ".join(f"{form} {1000 * seconds(layer, shape):.0f}" for form, layer in forms.items())
        print(f"{name}: {row}", flush=True)


if __name__ == "__main__":
    main()

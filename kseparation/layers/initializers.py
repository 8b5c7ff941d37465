"""The start of a training, equal on every backend."""

import random

import keras
import numpy as np
from keras import ops

# Keeps the power of features through layers with a rectifier: He et al. 2015, Delving deep into rectifiers (arXiv 1502.01852), eq. 10.
HE_GAIN = 6**0.5


@keras.saving.register_keras_serializable("kseparation")
class FanInUniform(keras.initializers.Initializer):
    """Draws from the uniform distribution between plus and minus `gain / sqrt(fan_in)`.

    With a gain of 1 this is how PyTorch starts convolutions, dense layers and their biases. The numbers come from NumPy, so that the same seed gives the same
    weights on TensorFlow, PyTorch and JAX.

    Args:
        fan_in: number of inputs that each output sums over, at least 1.
        gain: above 0; `HE_GAIN` before a rectifier.
        seed: integer; by default drawn from Python's generator, which `keras.utils.set_random_seed` seeds.
    """

    def __init__(self, fan_in: float, gain: float = 1.0, seed: int | None = None):
        self.fan_in = fan_in
        self.gain = gain
        self.seed = random.randint(1, 2**31 - 1) if seed is None else seed

    def numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns what a weight of this shape starts with, float64."""
        limit = self.gain / np.sqrt(self.fan_in)
        return np.random.default_rng(self.seed).uniform(-limit, limit, shape)

    def __call__(self, shape, dtype=None):
        return ops.convert_to_tensor(self.numbers(shape), dtype=dtype or keras.backend.floatx())

    def get_config(self):
        return {"fan_in": self.fan_in, "gain": self.gain, "seed": self.seed}

"""Weights unlike those at the start: seeded noise, with batch-norm statistics that are not zero and one."""

import zlib

import numpy as np

from tests.on_backend import numbers


def randomize(layer, seed: int = 0):
    """Moves every weight of a built layer or model away from its start and returns the layer.

    The numbers depend on the seed and the path of the weight below the layer. Kernels keep their scale; scales and variances lie in 0.5 to 1.5, so that signals neither die nor explode on the way.
    """
    for weight in layer.weights:
        if not np.issubdtype(numbers(weight).dtype, np.floating):
            continue
        path, shape = weight.path.split("/", 1)[-1], weight.shape
        name = path.rsplit("/", 1)[-1]
        draw = np.random.default_rng([seed, zlib.crc32(path.encode())])
        if name in ("gamma", "moving_variance"):
            value = draw.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = draw.uniform(-1, 1, shape) * np.sqrt(3 / np.prod(shape[:-1]))
        else:
            value = draw.uniform(-0.3, 0.3, shape)
        weight.assign(value.astype("float32"))
    return layer


def layer_weights(layer) -> dict[str, np.ndarray]:
    """Returns the weights by path below the layer, float64."""
    return {weight.path.split("/", 1)[-1]: numbers(weight).astype("float64") for weight in layer.weights}

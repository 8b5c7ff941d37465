"""Dropout whose course is part of a model's state on every backend."""

import random

import keras


def seeded_dropout(rate: float, **arguments) -> keras.layers.Dropout:
    """Returns Keras' dropout with a seed drawn from Python's generator, which `keras.utils.set_random_seed` sets.

    Without a seed of its own the layer draws from torch's global generator there: a training that is resumed would drop other features than one that was never
    interrupted.

    Args:
        rate: share of the features that are dropped, in (0, 1).
        arguments: further arguments of `keras.layers.Dropout`.
    """
    return keras.layers.Dropout(rate, seed=random.randrange(1, 2**31), **arguments)

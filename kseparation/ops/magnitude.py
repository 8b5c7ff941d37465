"""Magnitude of a complex number given as a pair, with a finite gradient everywhere."""

from keras import ops

# Below it a magnitude, then under 1e-15, counts as zero. Far above the powers that float32 holds with few digits, or flushes to zero.
SMALLEST_POWER = 1e-30


def safe_magnitude(real, imag):
    """Returns `sqrt(real^2 + imag^2)`, and zero with gradient zero below 1e-15.

    The plain root has an infinite derivative at zero, and silence is zero in every bin: one silent segment would make every gradient NaN.
    Nothing is added under the root, so the value is not shifted. NaN stays NaN.

    Args:
        real: any shape.
        imag: the same shape.
    """
    power = ops.square(real) + ops.square(imag)
    silent = power < SMALLEST_POWER
    root = ops.sqrt(ops.where(silent, ops.ones_like(power), power))
    return ops.where(silent, ops.zeros_like(power), root)

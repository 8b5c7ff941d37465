"""The logarithm of the gamma function and its relatives, accurate in float32 on every backend; `keras.ops` has none of them in Keras 3.15.

All arguments are above 0 and all results float32. The Stirling error is the base of the rest: differences of log-gammas whose large parts cancel are taken of it
(`likelihood.py`), because the log-gammas themselves, near 1e5, have no digits left behind the point in float32.
"""

import math

from keras import ops

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
# Stieltjes' continued fraction a0/(x + a1/(x + ...)); five terms leave 8e-8 at x = 2, where it is used from.
FRACTION = (1 / 12, 1 / 30, 53 / 210, 195 / 371, 22999 / 22737)
FRACTION_FROM = 2.0
# Bernoulli terms of log(x) - digamma(x) behind 1/(2x), of x^-2, x^-4, ...; they leave 8e-9 at x = 4.
BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240)
BERNOULLI_FROM = 4.0


def stirling_error(x):
    """What Stirling's formula lacks: `lgamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2)`, about 1/(12 x).

    The absolute error is below 1e-6, or 1e-6 of the value where that is larger.

    Args:
        x: any shape, above 0.

    Returns:
        The same shape, float32.

    Example:

    >>> round(float(stirling_error(ops.convert_to_tensor(1.0))), 5)
    0.08106

    References: Olver et al., NIST Digital Library of Mathematical Functions, 5.10.1; Loader 2000, Fast and accurate computation of binomial probabilities.
    """
    x = ops.cast(x, "float32")
    small = x < FRACTION_FROM
    below = ops.where(small, x, 1.0)
    # Two steps of the recurrence of the gamma function.
    shift = (below + 0.5) * ops.log1p(1.0 / below) + (below + 1.5) * ops.log1p(1.0 / (below + 1.0)) - 2.0
    above = ops.where(small, x + 2.0, x)
    fraction = ops.zeros_like(x)
    for term in reversed(FRACTION):
        fraction = term / (above + fraction)
    return fraction + ops.where(small, shift, 0.0)


def log_minus_digamma(x):
    """`log x - digamma(x)`, between 1/(2x) and 1/x: what is left of a difference of digammas once the logarithms are taken together.

    Args:
        x: any shape, above 0.

    Returns:
        The same shape, float32; the relative error is below 2e-6.

    References: NIST Digital Library of Mathematical Functions, 5.5.2 and 5.11.2.
    """
    x = ops.cast(x, "float32")
    small = x < BERNOULLI_FROM
    below = ops.where(small, x, 1.0)
    shift = 1.0 / below + 1.0 / (below + 1.0) + 1.0 / (below + 2.0) + 1.0 / (below + 3.0) - ops.log1p(4.0 / below)
    inverse = 1.0 / ops.where(small, x + 4.0, x)
    square = ops.square(inverse)
    series = ops.zeros_like(x)
    for term in reversed(BERNOULLI):
        series = square * (term + series)
    return 0.5 * inverse + series + ops.where(small, shift, 0.0)


def digamma(x):
    """The derivative of `lgamma`, for x above 0; any shape, float32.

    Example:

    >>> round(float(digamma(ops.convert_to_tensor(1.0))), 4)  # minus Euler's constant
    -0.5772
    """
    x = ops.cast(x, "float32")
    return ops.log(x) - log_minus_digamma(x)


@ops.custom_gradient
def _lgamma(x):
    def gradient(*upstream_of_call, upstream=None):
        upstream = upstream_of_call[0] if upstream is None else upstream
        return upstream * digamma(x)

    value = (x - 0.5) * ops.log(x) - x + HALF_LOG_TWO_PI + stirling_error(x)
    return value, gradient


def lgamma(x):
    """Logarithm of the gamma function, with `digamma` as its gradient.

    Args:
        x: any shape, above 0.

    Returns:
        The same shape, float32. The error is below 1e-6 of the larger of 1, x and the value; between 1 and 2, where the value passes through 0, that is an absolute 1e-6.

    Example:

    >>> round(float(lgamma(ops.convert_to_tensor(5.0))), 5)  # log 24
    3.17805
    """
    return _lgamma(ops.cast(x, "float32"))

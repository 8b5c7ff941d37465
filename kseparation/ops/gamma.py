"""The logarithm of the gamma function and its relatives, accurate in float32 on every backend; `keras.ops` has none of them in Keras 3.15.

All arguments are above 0 and all results float32. The Stirling error is the base of the rest: differences of log-gammas whose large parts cancel are taken of it
(`likelihood.py`), because the log-gammas themselves, near 1e5, have no digits left behind the point in float32.
"""

import math

from keras import ops

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
# Continued fraction c1/(x + c2/(x + ...)) of the Stirling error. Stieltjes' own coefficients, 1/12, 1/30, 53/210, ..., converge slowly at 1; these were fitted to values of 60
# digits so that the largest error from 1 on is smallest, 7e-9.
STIRLING_FRACTION = (0.08333324529595697, 0.03330023719107629, 0.24299627935595275, 0.3654404894686933, 0.25572822228043973)
# The same for log(x) - digamma(x) - 1/(2x): c1/(x^2 + d1 + c2/(x^2 + d2 + ...)), pairs (c, d), relative error 7e-9 of the whole.
DIGAMMA_FRACTION = ((0.08333327135609087, 0.09996092605456386), (-0.03698396256484188, 0.9751207660038834), (-0.345681136451045, 0.806737433497521))


def stirling_error_from_one(x):
    """`stirling_error` of float32 numbers from 1 on, in ten operations; below 1 it is wrong."""
    fraction = STIRLING_FRACTION[-1] / x
    for term in reversed(STIRLING_FRACTION[:-1]):
        fraction = term / (x + fraction)
    return fraction


def log_minus_digamma_from_one(x):
    """`log_minus_digamma` of float32 numbers from 1 on; below 1 it is wrong."""
    square = ops.square(x)
    fraction = 0.0
    for numerator, shift in reversed(DIGAMMA_FRACTION):
        fraction = numerator / (square + (shift + fraction))
    return 0.5 / x + fraction


def _with_one_step(x, from_one, step):
    """A function that is known from 1 on, and below by a step of its recurrence from `x + 1`."""
    small = x < 1.0
    below = ops.where(small, x, 1.0)
    return from_one(ops.where(small, x + 1.0, x)) + ops.where(small, step(below), 0.0)


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
    return _with_one_step(ops.cast(x, "float32"), stirling_error_from_one, lambda x: (x + 0.5) * ops.log1p(1.0 / x) - 1.0)


def log_minus_digamma(x):
    """`log x - digamma(x)`, between 1/(2x) and 1/x: what is left of a difference of digammas once the logarithms are taken together.

    Args:
        x: any shape, above 0.

    Returns:
        The same shape, float32; the relative error is below 1e-6.

    References: NIST Digital Library of Mathematical Functions, 5.5.2 and 5.9.
    """
    return _with_one_step(ops.cast(x, "float32"), log_minus_digamma_from_one, lambda x: 1.0 / x - ops.log1p(1.0 / x))


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

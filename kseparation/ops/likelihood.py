"""Likelihoods of counts."""

import math

from keras import ops

from kseparation.ops.gamma import log_minus_digamma, stirling_error

# A mean or inverse dispersion below it counts as it. Softmax gives exact zeros in float32, where a count that was seen would be impossible.
SMALLEST = 1e-8
# Above it a negative binomial is a Poisson distribution to the last digit of float32.
LARGEST_INVERSE_DISPERSION = 1e8
# Differences of two numbers within a tenth of their sum lose digits in `x log(x / y)`; the series needs so many terms for them.
NEAR = 0.1
SERIES = (1 / 3, 1 / 5, 1 / 7, 1 / 9)


def _deviance(x, expected, difference):
    """`x log(x / expected) + expected - x`, at least 0; `difference` is `x - expected`, known better than by subtraction."""
    total = x + expected
    ratio = difference / total
    near = ops.absolute(ratio) < NEAR
    series = ops.zeros_like(x)
    square = ops.square(ratio)
    for term in reversed(SERIES):
        series = square * (term + series)
    return ops.where(near, difference * ratio + 2.0 * x * ratio * series, x * ops.log(x / expected) - difference)


def _value(counts, mean, theta):
    unseen = counts == 0
    # Of a count of 0 only the part with the inverse dispersion is left; 1 stands in for it below, where 0 has no logarithm.
    y = ops.where(unseen, 1.0, counts)
    share = theta / (theta + mean)
    difference = (y - mean) * share
    total = y + theta
    deviance = _deviance(y, mean * (total / (theta + mean)), difference) + _deviance(theta, share * total, -difference)
    stirling = stirling_error(y) + stirling_error(theta) - stirling_error(total)
    of_seen = deviance + stirling + 0.5 * (math.log(2 * math.pi) + ops.log(y) + ops.log1p(y / theta))
    return ops.where(unseen, theta * ops.log1p(mean / theta), of_seen)


@ops.custom_gradient
def _negative_binomial_nll(counts, mean, theta):
    def gradient(*upstream_of_call, upstream=None):
        upstream = upstream_of_call[0] if upstream is None else upstream
        of_mean = (mean - counts) / (mean * (1.0 + mean / theta))
        excess = (counts - mean) / (theta + mean)
        # The logarithms of the digammas go together with that of the likelihood, in a difference of its own: excess - log(1 + excess).
        logarithms = _deviance(ops.ones_like(mean), (theta + counts) / (theta + mean), -excess)
        of_theta = logarithms + log_minus_digamma(theta + counts) - log_minus_digamma(theta)
        return ops.zeros_like(counts), upstream * of_mean, upstream * of_theta

    return _value(counts, mean, theta), gradient


@ops.custom_gradient
def _bounded(x, lowest, highest):
    def gradient(*upstream_of_call, upstream=None):
        upstream = upstream_of_call[0] if upstream is None else upstream
        return upstream, ops.zeros_like(lowest), ops.zeros_like(highest)

    return ops.minimum(ops.maximum(x, lowest), highest), gradient


def _within(x, lowest, highest):
    """`x` kept within bounds, with the gradient of what lies beyond taken at the bound, so that it still pulls back."""
    return _bounded(x, *(ops.convert_to_tensor(bound, "float32") for bound in (lowest, highest)))


def negative_binomial_nll(counts, mean, inverse_dispersion):
    """Negative logarithm of the probability of counts under a negative binomial distribution of variance `mean + mean^2 / inverse_dispersion`, in nats per entry.

    It is computed by the deviance and the Stirling error, never by log-gammas of large numbers, so that float32 keeps six digits for counts of 1e6 and inverse dispersions of
    1e8 alike; the gradient is written out. A count of 0 gives `theta log(1 + mean / theta)` exactly.

    Args:
        counts: numbers from 0 on, `(..., genes)`. No gradient flows into them.
        mean: expected counts from 0 on, of a shape that broadcasts with `counts`. Below 1e-8 it counts as 1e-8, and its gradient is that at 1e-8.
        inverse_dispersion: theta, above 0, of a shape that broadcasts; within 1e-8 and 1e8 in the same way.

    Returns:
        The broadcast shape, float32 whatever the inputs are. NaN stays NaN, and a negative count gives NaN.

    Example:

    >>> round(float(negative_binomial_nll(ops.convert_to_tensor([10.0]), 4.0, 10.0)[0]), 4)
    4.4587

    References: Loader 2000, Fast and accurate computation of binomial probabilities; Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics (Nature
    Methods 15), for the parameters.
    """
    counts, mean, theta = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (counts, mean, inverse_dispersion))
    # Of one shape before the written-out gradient, which then need not sum over what was broadcast.
    zeros = ops.zeros_like(counts + mean + theta)
    mean = _within(mean, SMALLEST, math.inf)
    theta = _within(theta, SMALLEST, LARGEST_INVERSE_DISPERSION)
    return _negative_binomial_nll(ops.stop_gradient(counts + zeros), mean + zeros, theta + zeros)

"""Likelihoods of counts."""

import math

from keras import ops

from kseparation.ops.gamma import log_minus_digamma, log_minus_digamma_from_one, stirling_error, stirling_error_from_one

# A mean or inverse dispersion below it counts as it. Softmax gives exact zeros in float32, where a count that was seen would be impossible.
SMALLEST = 1e-8
# Beyond it the variance of a mean of 6 is that of a Poisson distribution to the last digit of float32, and of a mean of 10,000 to a ten-thousandth.
LARGEST_INVERSE_DISPERSION = 1e8
# Where v = x / (2 + x) is that close to 0, `x - log(1 + x)` loses digits, and a series of so many terms in v does not.
NEAR = 0.2
SERIES = (1 / 3, 1 / 5, 1 / 7, 1 / 9)


def _excess_over_log(x, one_plus_x):
    """`x - log(1 + x)`, at least 0; `one_plus_x` is known better than by addition."""
    # log(1 + x) is 2 (v + v^3/3 + v^5/5 + ...), and x - 2 v is x v.
    v = x / (2.0 + x)
    square = ops.square(v)
    series = SERIES[-1] * square
    for term in reversed(SERIES[:-1]):
        series = square * (term + series)
    return ops.where(ops.absolute(v) < NEAR, v * (x - 2.0 * series), x - ops.log(one_plus_x))


@ops.custom_gradient
def _negative_binomial_nll(counts, mean, theta, stirling_of_theta, digamma_of_theta):
    """The last two are functions of theta alone, which often has a value for each gene only; their part of the gradient is in that of theta."""
    unseen = counts == 0
    # Of a count of 0 only the part with the inverse dispersion is left; 1 stands in for it, since 0 has no logarithm.
    y = ops.where(unseen, 1.0, counts)
    total, expected = theta + y, theta + mean
    # What count and theta together lie above their expectation, in units of that; both deviate from their shares in it by as much.
    excess, ratio = (counts - mean) / expected, (theta + counts) / expected
    excess_over_log = _excess_over_log(excess, ratio)
    below = -(theta * excess) / y
    deviance = y * _excess_over_log(below, mean / y * ratio) + theta * excess_over_log
    stirling = stirling_error_from_one(y) + stirling_of_theta - stirling_error_from_one(total)
    of_seen = deviance + stirling + 0.5 * (math.log(2 * math.pi) + ops.log(y * (total / theta)))

    def gradient(*upstream_of_call, upstream=None):
        upstream = upstream_of_call[0] if upstream is None else upstream
        of_mean = (1.0 - counts / mean) / (1.0 + mean / theta)
        # The logarithms of the digammas go together with that of the likelihood.
        of_theta = excess_over_log + ops.where(unseen, 0.0, log_minus_digamma_from_one(total) - digamma_of_theta)
        zeros = ops.zeros_like(counts)
        return zeros, upstream * of_mean, upstream * of_theta, ops.zeros_like(stirling_of_theta), ops.zeros_like(digamma_of_theta)

    return ops.where(unseen, theta * ops.log1p(mean / theta), of_seen), gradient


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
        counts: whole numbers from 0 on, `(..., genes)`. No gradient flows into them.
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
    mean = _within(mean, SMALLEST, math.inf)
    theta = _within(theta, SMALLEST, LARGEST_INVERSE_DISPERSION)
    of_theta = ops.stop_gradient(theta)
    # Of one shape before the written-out gradient, which then need not sum over what was broadcast.
    zeros = ops.zeros_like(ops.stop_gradient(counts + mean + theta))
    return _negative_binomial_nll(ops.stop_gradient(counts + zeros), mean + zeros, theta + zeros, stirling_error(of_theta), log_minus_digamma(of_theta))

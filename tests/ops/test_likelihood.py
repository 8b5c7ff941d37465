import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from scipy import special

from kseparation.ops.likelihood import SMALLEST, negative_binomial_nll
from tests.on_backend import compute, gradient_of

# Counts, mean, inverse dispersion, and the likelihood in float64.
GOLDEN = [(0, 1, 1, 0.693147), (3, 2, 0.5, 2.637300), (10, 4, 10, 4.458708), (259, 100, 2, 7.431850), (1, 1e-6, 1e-4, 13.825462)]
COUNTS = [0.0, 1.0, 3.0, 259.0, 1e4, 1e6]
MEANS = [1e-7, 1e-3, 1.0, 97.3, 1e4, 1e6]
THETAS = [1e-4, 0.5, 2.0, 1e3, 1e4, 1e7]


def grid():
    axes = np.meshgrid(COUNTS, MEANS, THETAS, indexing="ij")
    return [axis.ravel().astype("float32") for axis in axes]


def exact(y, mean, theta):
    """The textbook formula in float64, whose largest log-gammas here, 1e8, keep eight digits behind the point."""
    y, mean, theta = (np.asarray(x, "float64") for x in (y, mean, theta))
    gammas = special.gammaln(y + theta) - special.gammaln(theta) - special.gammaln(y + 1)
    return -(theta * -np.log1p(mean / theta) + y * (np.log(mean) - np.log(theta + mean)) + gammas)


def exact_gradients(y, mean, theta):
    y, mean, theta = (np.asarray(x, "float64") for x in (y, mean, theta))
    of_mean = (y + theta) / (theta + mean) - y / mean
    return of_mean, np.log1p(mean / theta) + (y - mean) / (theta + mean) - special.digamma(y + theta) + special.digamma(theta)


@pytest.mark.parametrize(("y", "mean", "theta", "expected"), GOLDEN)
def test_golden_values(y, mean, theta, expected):
    value = compute(negative_binomial_nll, *(np.array([x], "float32") for x in (y, mean, theta)))
    assert abs(float(value[0]) - expected) < 1e-5


def test_it_keeps_six_digits_over_the_whole_range():
    arrays = grid()
    expected = exact(*arrays)
    found = compute(negative_binomial_nll, *arrays)
    assert np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))) < 3e-6


def test_both_gradients_are_those_of_the_exact_formula():
    y, mean, theta = grid()
    of_mean, of_theta = exact_gradients(y, mean, theta)
    by_mean = gradient_of(lambda x: ops.sum(negative_binomial_nll(y, x, theta)), mean)
    by_theta = gradient_of(lambda x: ops.sum(negative_binomial_nll(y, mean, x)), theta)
    # With regard to the logarithm, as a network sees it; 1 is a gradient of one count.
    assert np.max(np.abs(by_mean - of_mean) * mean / np.maximum(1, np.abs(of_mean) * mean)) < 3e-6
    assert np.max(np.abs(by_theta - of_theta) * theta / np.maximum(1, np.abs(of_theta) * theta)) < 3e-6


@given(st.integers(0, 5000), st.floats(1e-6, 5000), st.floats(1e-3, 1e5))
def test_any_count_has_a_probability_of_at_most_one(y, mean, theta):
    row = [np.full((1,), x, "float32") for x in (y, mean, theta)]
    value = compute(negative_binomial_nll, *row)[0]
    assert value == pytest.approx(exact(*(x[0] for x in row)), rel=1e-5, abs=1e-5) and value > -1e-6


def test_value_and_gradients_are_finite_far_outside():
    axes = np.meshgrid([0.0, 1.0, 1e6], [0.0, 1e-38, 1e-30, 1.0, 1e6, 1e12], [0.0, 1e-30, 1e-4, 1.0, 1e4, 1e30], indexing="ij")
    y, mean, theta = (axis.ravel().astype("float32") for axis in axes)
    assert np.isfinite(compute(negative_binomial_nll, y, mean, theta)).all()
    assert np.isfinite(gradient_of(lambda x: ops.sum(negative_binomial_nll(y, x, theta)), mean)).all()
    assert np.isfinite(gradient_of(lambda x: ops.sum(negative_binomial_nll(y, mean, x)), theta)).all()


HEADS = {
    "softmax": lambda logits: 1e4 * ops.softmax(logits),
    "softplus": lambda logits: 1e4 * ops.softplus(logits),
    "exp of a clamped logit": lambda logits: ops.exp(ops.clip(logits, -15.0, 15.0)),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("counts", [[[0.0, 3.0, 0.0]], [[7.0, 0.0, 1e6]]])
def test_logits_far_out_have_finite_gradients(head, counts):
    logits = np.array([[-200.0, 0.0, 200.0]], "float32")
    counts = np.array(counts, "float32")
    value = compute(lambda x: negative_binomial_nll(counts, HEADS[head](x), 2.0), logits)
    gradient = gradient_of(lambda x: ops.sum(negative_binomial_nll(counts, HEADS[head](x), 2.0)), logits)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    # A softmax of one exact 1 and zeros has no gradient at all; the others still pull.
    assert np.any(gradient) == (head != "softmax")


def test_an_exponential_that_is_clamped_afterwards_has_no_finite_gradient():
    """Why no head does it so: the forward pass shows nothing, and the gradient is 0 x infinity (measured on every backend)."""
    logits = np.full((1, 1), 89.0, "float32")
    counts = np.ones((1, 1), "float32")

    def nll(x):
        return ops.sum(negative_binomial_nll(counts, ops.minimum(ops.exp(x), 1e6), 2.0))

    assert np.isfinite(compute(nll, logits)) and np.isnan(gradient_of(nll, logits)).all()


def test_below_the_smallest_mean_the_gradient_still_pulls_up():
    y, theta = np.array([[4.0]], "float32"), np.array([[2.0]], "float32")
    gradient = [gradient_of(lambda x: ops.sum(negative_binomial_nll(y, x, theta)), np.full((1, 1), mean, "float32")) for mean in (0.0, SMALLEST)]
    np.testing.assert_array_equal(*gradient)
    assert gradient[0] == pytest.approx(-4.0 / SMALLEST, rel=1e-5)


def test_parameters_broadcast_and_their_gradients_are_summed():
    rng = np.random.default_rng(0)
    y, mean, theta = rng.poisson(3.0, (5, 4)).astype("float32"), rng.uniform(1, 4, (5, 4)).astype("float32"), rng.uniform(1, 4, 4).astype("float32")
    values = compute(negative_binomial_nll, y, mean, theta)
    np.testing.assert_allclose(values, exact(y, mean, theta), rtol=1e-5)
    gradient = gradient_of(lambda x: ops.sum(negative_binomial_nll(y, mean, x)), theta)
    np.testing.assert_allclose(gradient, exact_gradients(y, mean, theta)[1].sum(axis=0), rtol=1e-4, atol=1e-5)


def test_it_is_float32_in_half_precision_too_and_counts_have_no_gradient():
    value = compute(lambda y: negative_binomial_nll(ops.cast(y, "float16"), ops.cast(y, "float16"), ops.cast(y, "float16")), np.full((2,), 3.0, "float32"))
    assert value.dtype == np.float32 and value == pytest.approx(exact(3, 3, 3), rel=1e-5)
    gradient = gradient_of(lambda x: ops.sum(negative_binomial_nll(x, 2.0 * x, 1.0)), np.full((1,), 3.0, "float32"))
    assert gradient == pytest.approx(2 * exact_gradients(3, 6, 1)[0], rel=1e-5)


@pytest.mark.parametrize("place", range(3))
def test_nan_stays_nan(place):
    arrays = [np.full((2,), 3.0, "float32") for _ in range(3)]
    arrays[place][0] = np.nan
    np.testing.assert_array_equal(np.isnan(compute(negative_binomial_nll, *arrays)), [True, False])


def test_a_negative_count_is_no_count():
    value = compute(negative_binomial_nll, *(np.array(x, "float32") for x in ([-1.0, 1.0], [1.0, 1.0], [1.0, 1.0])))
    np.testing.assert_array_equal(np.isnan(value), [True, False])

import numpy as np
import pytest
from keras import ops
from scipy import special

from kseparation.ops.gamma import digamma, lgamma, log_minus_digamma, stirling_error
from tests.on_backend import compute, gradient_of

X = np.geomspace(1e-8, 1e8, 401).astype("float32")


def exact(near, far) -> np.ndarray:
    """A function in float64: as it is defined, and above 10,000, where that cancels, by the first terms of its expansion."""
    x = X.astype("float64")
    return np.where(x < 1e4, near(x), far(x))


def relative(found, expected, scale=1.0):
    return np.max(np.abs(found - expected) / np.maximum(scale, np.abs(expected)))


def test_stirling_error():
    expected = exact(lambda x: special.gammaln(x) - (x - 0.5) * np.log(x) + x - np.log(2 * np.pi) / 2, lambda x: 1 / (12 * x))
    assert relative(compute(stirling_error, X), expected) < 1e-6


def test_log_minus_digamma_keeps_its_relative_accuracy_from_the_smallest_to_the_largest():
    expected = exact(lambda x: np.log(x) - special.digamma(x), lambda x: 1 / (2 * x) + 1 / (12 * x**2))
    assert relative(compute(log_minus_digamma, X), expected, scale=0.0) < 1e-6


def test_lgamma():
    assert relative(compute(lgamma, X), special.gammaln(X.astype("float64")), scale=np.maximum(1, X)) < 1e-6


def test_lgamma_where_it_passes_through_zero():
    assert np.max(np.abs(compute(lgamma, np.array([1.0, 2.0], "float32")))) < 1e-6
    assert compute(lgamma, np.array([1.4616321], "float32"))[0] == pytest.approx(-0.12148629, abs=1e-6)


def test_the_gradient_of_lgamma_is_digamma():
    expected = special.digamma(X.astype("float64"))
    gradient = gradient_of(lambda x: ops.sum(2.0 * lgamma(x)), X)
    assert relative(gradient, 2 * expected) < 2e-6
    assert relative(compute(digamma, X), expected) < 2e-6


def test_half_precision_comes_out_as_float32():
    for function in (lgamma, digamma, stirling_error, log_minus_digamma):
        value = compute(lambda x: function(ops.cast(x, "float16")), np.array([3.0], "float32"))
        assert value.dtype == np.float32


def test_nan_stays_nan():
    x = np.array([np.nan, 3.0], "float32")
    np.testing.assert_array_equal(np.isnan(compute(lgamma, x)), [True, False])
    np.testing.assert_array_equal(np.isnan(gradient_of(lambda x: ops.sum(lgamma(x)), x)), [True, False])

import mpmath
import numpy as np
import pytest
from keras import ops

from kseparation.ops.gamma import digamma, lgamma, log_minus_digamma, stirling_error
from tests.on_backend import compute, gradient_of

X = np.geomspace(1e-8, 1e8, 401).astype("float32")


def exact(function) -> np.ndarray:
    return np.array([float(function(mpmath.mpf(float(x)))) for x in X])


def relative(found, expected, scale=1.0):
    return np.max(np.abs(found - expected) / np.maximum(scale, np.abs(expected)))


def test_stirling_error():
    expected = exact(lambda x: mpmath.loggamma(x) - (x - 0.5) * mpmath.log(x) + x - mpmath.log(2 * mpmath.pi) / 2)
    assert relative(compute(stirling_error, X), expected) < 1e-6


def test_log_minus_digamma_keeps_its_relative_accuracy_from_the_smallest_to_the_largest():
    expected = exact(lambda x: mpmath.log(x) - mpmath.digamma(x))
    assert relative(compute(log_minus_digamma, X), expected, scale=0.0) < 2e-6


def test_lgamma():
    assert relative(compute(lgamma, X), exact(mpmath.loggamma), scale=np.maximum(1, X)) < 1e-6


def test_lgamma_where_it_passes_through_zero():
    assert np.max(np.abs(compute(lgamma, np.array([1.0, 2.0], "float32")))) < 1e-6
    assert compute(lgamma, np.array([1.4616321], "float32"))[0] == pytest.approx(-0.12148629, abs=1e-6)


def test_the_gradient_of_lgamma_is_digamma():
    expected = exact(mpmath.digamma)
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

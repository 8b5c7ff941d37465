"""The magnitude is exact, and its gradient is finite everywhere."""

import numpy as np
from keras import ops

from kseparation.ops.magnitude import safe_magnitude
from tests.on_backend import compute, gradient_of


def test_is_the_length_of_the_pair():
    draw = np.random.default_rng(0)
    real, imag = (draw.standard_normal((2, 5, 200)) * 10.0 ** np.linspace(-13, 9, 200)).astype("float32")
    expected = np.hypot(np.float64(real), np.float64(imag))
    np.testing.assert_allclose(compute(safe_magnitude, real, imag), expected, rtol=3e-7)


def test_is_zero_at_zero_with_gradient_zero():
    pair = np.zeros((2, 4), "float32")
    assert np.all(compute(safe_magnitude, pair[0], pair[1]) == 0)
    np.testing.assert_array_equal(gradient_of(lambda x: ops.sum(safe_magnitude(x[0], x[1])), pair), pair)


def test_gradient_is_the_unit_vector_of_the_pair():
    pair = np.array([[3.0, -1e-10, 0.0], [4.0, 0.0, 1e10]], "float32")
    expected = [[0.6, -1.0, 0.0], [0.8, 0.0, 1.0]]
    np.testing.assert_allclose(gradient_of(lambda x: ops.sum(safe_magnitude(x[0], x[1])), pair), expected, rtol=1e-6)


def test_what_is_not_finite_stays_so():
    real, imag = np.array([np.nan, 0.0, np.inf], "float32"), np.array([0.0, np.nan, 1.0], "float32")
    result = compute(safe_magnitude, real, imag)
    np.testing.assert_array_equal(result, [np.nan, np.nan, np.inf])

import numpy as np
import pytest
from keras import ops

from kseparation.ops.norms import euclidean_norm
from tests.on_backend import numbers


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_it_is_that_of_numpy_for_every_shape_in_float32(shape, dtype) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    norm = euclidean_norm(ops.convert_to_tensor(x))
    np.testing.assert_allclose(numbers(norm), np.sqrt(np.sum(np.square(x.astype("float64")))), rtol=1e-6)
    assert numbers(norm).dtype == "float32" and numbers(norm).shape == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(bad: float) -> None:
    assert not np.isfinite(numbers(euclidean_norm(ops.convert_to_tensor(np.float32([[1.0, bad]])))))

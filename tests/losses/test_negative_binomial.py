import numpy as np
import pytest
from scipy import stats

from kseparation.losses import NegativeBinomial
from tests.on_backend import compute, gradient_of

rng = np.random.default_rng(0)
MEAN, THETA = rng.uniform(0.1, 9, (4, 5)), rng.uniform(0.2, 30, (4, 5))
COUNTS = rng.poisson(MEAN * rng.gamma(THETA, 1 / THETA)).astype("float32")
PREDICTED = np.stack([MEAN, THETA], axis=-1).astype("float32")


def test_it_is_the_mean_over_genes_of_each_cell_and_then_over_cells():
    expected = -stats.nbinom.logpmf(COUNTS, THETA, THETA / (THETA + MEAN))
    np.testing.assert_allclose(compute(NegativeBinomial().call, COUNTS, PREDICTED), expected.mean(axis=1), rtol=1e-5)
    assert compute(NegativeBinomial(), COUNTS, PREDICTED) == pytest.approx(expected.mean(), rel=1e-5)


def test_its_gradient_is_that_of_the_density():
    def total(mean):
        return -stats.nbinom.logpmf(COUNTS, THETA, THETA / (THETA + mean)).mean(axis=1)

    step = 1e-5
    slopes = []
    for gene in range(5):
        moved = [MEAN + sign * step * (np.arange(5) == gene) for sign in (1, -1)]
        slopes.append((total(moved[0]) - total(moved[1])) / (2 * step) / len(COUNTS))
    gradient = gradient_of(lambda predicted: NegativeBinomial()(COUNTS, predicted), PREDICTED)
    np.testing.assert_allclose(gradient[..., 0], np.transpose(slopes), rtol=1e-3, atol=1e-6)


def test_half_precision_is_computed_in_float32():
    value = compute(lambda true, pred: NegativeBinomial()(true, pred), np.full((1, 1), 60000.0, "float16"), np.full((1, 1, 2), 60000.0, "float16"))
    assert value.dtype == np.float32
    assert value == pytest.approx(-stats.nbinom.logpmf(60000, np.float16(60000), 0.5), rel=1e-4)

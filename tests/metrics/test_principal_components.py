import numpy as np

from kseparation.metrics.principal_components import principal_components

rng = np.random.default_rng(0)
COUNTS = rng.poisson(rng.gamma(1.0, 5.0, (1, 12)) * np.exp(rng.normal(0, 1, (80, 1)) * np.linspace(-1, 1, 12)))
SIZES = COUNTS.sum(axis=1) * rng.uniform(1, 2, 80)


def test_they_are_those_of_a_singular_value_decomposition():
    logs = np.log1p(COUNTS / SIZES[:, None] * 1e4)
    left, values, _ = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    found = principal_components(COUNTS, SIZES, 3)
    np.testing.assert_allclose(np.abs(found), np.abs((left * values)[:, :3]), atol=1e-8)
    np.testing.assert_allclose(found.T @ found, np.diag(values[:3] ** 2), atol=1e-6)


def test_axes_depend_on_the_fitted_cells_alone():
    fitted = np.arange(60)
    changed = COUNTS.copy()
    changed[70] = 0
    changed[70, 3] = 500
    one, other = (principal_components(counts, SIZES, 2, fitted) for counts in (COUNTS, changed))
    np.testing.assert_array_equal(np.delete(one, 70, axis=0), np.delete(other, 70, axis=0))
    np.testing.assert_allclose(one[:60], principal_components(COUNTS[:60], SIZES[:60], 2), atol=1e-9)
    assert principal_components(COUNTS, SIZES, 50).shape == (80, 12)


def test_signs_are_fixed():
    """By the largest loading: cells with more of the gene that an axis follows most lie further along it."""
    logs = np.log1p(COUNTS / SIZES[:, None] * 1e4)
    found = principal_components(COUNTS, SIZES, 2)
    centred = logs - logs.mean(axis=0)
    for axis in range(2):
        loadings = centred.T @ found[:, axis]
        assert loadings[np.abs(loadings).argmax()] > 0

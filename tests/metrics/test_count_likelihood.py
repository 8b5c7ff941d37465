import numpy as np
import pytest
from scipy import stats

from kseparation.metrics.count_likelihood import CountLikelihood, nll_of_counts

rng = np.random.default_rng(0)
MEAN, THETA = rng.uniform(0.01, 300, (7, 5)), rng.uniform(0.1, 50, 5)
COUNTS = rng.poisson(MEAN * rng.gamma(THETA, 1 / THETA, (7, 5)))


@pytest.mark.parametrize(
    ("y", "mean", "theta", "expected"), [(0, 1, 1, 0.693147), (3, 2, 0.5, 2.637300), (10, 4, 10, 4.458708), (259, 100, 2, 7.431850), (1, 1e-6, 1e-4, 13.825462)]
)
def test_golden_values(y, mean, theta, expected):
    assert float(nll_of_counts(y, mean, theta)) == pytest.approx(expected, abs=1e-6)


def test_it_is_the_density_of_scipy():
    np.testing.assert_allclose(nll_of_counts(COUNTS, MEAN, THETA), -stats.nbinom.logpmf(COUNTS, THETA, THETA / (THETA + MEAN)), rtol=1e-10)


def test_a_mean_of_zero_makes_zero_certain_and_all_else_impossible():
    np.testing.assert_array_equal(nll_of_counts(np.array([0, 2]), 0.0, 1.0), [0, np.inf])


def test_both_conventions_do_not_depend_on_the_batches():
    whole, parts = CountLikelihood(), CountLikelihood()
    whole.update(COUNTS, MEAN, THETA)
    for rows in (slice(0, 2), slice(2, 7)):
        parts.update(COUNTS[rows], MEAN[rows], THETA)
    nll = nll_of_counts(COUNTS, MEAN, THETA)
    for score in (whole, parts):
        assert score.result() == pytest.approx({"nll_per_entry": nll.mean(), "nll_per_cell": nll.sum(axis=1).mean()})


def test_nothing_yet_is_no_number_and_wrong_shapes_are_refused():
    assert np.isnan(list(CountLikelihood().result().values())).all()
    for counts in (COUNTS[0], COUNTS[:1]):
        with pytest.raises(ValueError, match=r"`counts` and `mean` must be \(cells, genes\) both"):
            CountLikelihood().update(counts, MEAN, THETA)

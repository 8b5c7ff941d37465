import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from kseparation.data import SegmentStream
from kseparation.data.counts import CountBatches, CountsInOrder, SimulatedCounts
from kseparation.losses import NegativeBinomial
from kseparation.metrics.count_likelihood import nll_of_counts
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


class Rates(keras.Model):
    """A share of the library for each gene and condition."""

    def __init__(self):
        super().__init__()
        self.logits = keras.layers.Embedding(2, 12, embeddings_initializer="zeros")

    def call(self, inputs):
        mean = ops.softmax(self.logits(inputs["conditions"])) * inputs["library_sizes"]
        return {"counts": ops.stack([mean, 2.0 * ops.ones_like(mean)], axis=-1)}


def test_a_model_learns_from_batches_of_counts():
    """Inputs and targets by name, as `CountBatches` gives them, through `fit`; rates of two types of cells, told by their condition."""
    data = SimulatedCounts(600, 12, 2, 1, conditions=("cell_type",), label=None)
    train = CountBatches(data.table("train"), 32, seed=1, conditions=data.conditions("train"))
    test = CountsInOrder(data.table("test"), 50, data.conditions("test"))
    model = Rates()
    model.compile(keras.optimizers.Adam(0.2), {"counts": NegativeBinomial()})
    before = model.evaluate((batch for batch in test), steps=len(test), verbose=0)
    with SegmentStream(train, steps_per_epoch=40, workers=1) as stream:
        history = model.fit((batch for batch in stream), steps_per_epoch=40, epochs=2, shuffle=False, verbose=0).history["loss"]
    after = model.evaluate((batch for batch in test), steps=len(test), verbose=0)
    assert np.isfinite(history).all() and after < before - 0.5
    # Close to what the table was drawn from, with the inverse dispersions it has.
    types = data.conditions("test")
    true = data.simulation.proportions[types, 0] * data.table("test").library_sizes[:, None]
    assert after < nll_of_counts(data.table("test").dense(range(120)), true, 2.0).mean() + 0.05

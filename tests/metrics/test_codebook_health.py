"""Health of a codebook over several batches, by the definitions."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers import VectorQuantizer
from kseparation.metrics import (
    ActiveCodeShare,
    CodebookHealth,
    CodebookMovement,
    CodebookPerplexity,
    CodeNormRatio,
    QuantizationErrorRatio,
    RevivedCodes,
)
from tests.on_backend import numbers


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_perplexity_is_that_of_all_batches_together():
    metric = CodebookPerplexity(8)
    for codes in ([[0, 0], [0, 0]], [[1, 1], [1, 1]], [[2, 3], [2, 3]]):
        metric.update_state(np.array(codes))
    shares = np.array([4, 4, 2, 2]) / 12
    assert float(numbers(metric.result())) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    metric.reset_state()
    metric.update_state(np.arange(8))
    assert float(numbers(metric.result())) == pytest.approx(8, rel=1e-5)


def test_active_is_a_code_that_has_a_tenth_of_its_share():
    metric = ActiveCodeShare(4)
    assert float(numbers(metric.result())) == 0
    metric.update_state(np.repeat([0, 1, 2], [30, 9, 1]))  # a tenth of uniform use is 1
    assert float(numbers(metric.result())) == 0.75
    strict = ActiveCodeShare(4, least=0.5)
    strict.update_state(np.repeat([0, 1, 2], [30, 9, 1]))
    assert float(numbers(strict.result())) == 0.5


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_the_error_is_held_against_the_variance_of_all_batches(offset):
    vectors, rows = offset + drawn(3, 40, 5), offset + drawn(3, 40, 5, seed=1)
    metric = QuantizationErrorRatio(5)
    for batch in zip(vectors, rows, strict=True):
        metric.update_state(*batch)
    exact, quantized = vectors.reshape(-1, 5).astype("float64"), rows.reshape(-1, 5).astype("float64")
    expected = np.square(exact - quantized).sum() / np.square(exact - exact.mean(axis=0)).sum()
    assert float(numbers(metric.result())) == pytest.approx(expected, rel=1e-4)
    metric.reset_state()
    metric.update_state(vectors[0], np.broadcast_to(vectors[0].mean(axis=0), vectors[0].shape))
    assert float(numbers(metric.result())) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("metric", [QuantizationErrorRatio(5), CodeNormRatio()])
def test_a_batch_that_is_not_finite_is_left_out(metric):
    vectors, rows = drawn(40, 5), drawn(40, 5, seed=1)
    metric.update_state(vectors, rows)
    before = float(numbers(metric.result()))
    metric.update_state(np.full_like(vectors, np.nan), rows)
    assert float(numbers(metric.result())) == before > 0


def test_the_norm_ratio_is_that_of_the_mean_lengths():
    metric = CodeNormRatio()
    metric.update_state(drawn(2, 40, 5), 10 * drawn(2, 40, 5))
    metric.update_state(drawn(2, 40, 5), 20 * drawn(2, 40, 5))
    assert float(numbers(metric.result())) == pytest.approx(15, rel=1e-5)


def test_movement_is_averaged_and_revivals_are_added():
    movement, revived = CodebookMovement(), RevivedCodes()
    for value in (0.1, 0.3):
        movement.update_state(ops.convert_to_tensor(value))
        revived.update_state(ops.convert_to_tensor(2.0))
    assert float(numbers(movement.result())) == pytest.approx(0.2)
    assert float(numbers(revived.result())) == 4


class Tracked(keras.Model):
    """A model that watches its quantiser, with everything that the health needs computed in its loss."""

    def __init__(self):
        super().__init__()
        self.quantizer = VectorQuantizer(8, decay=0.5, seed=1, revival={"warm_up_steps": 0, "patience": 0.1, "threshold": 1.0, "every_n_steps": 1, "cap": 2, "reservoir": 64})
        self.dense = keras.layers.Dense(3)
        self.health = CodebookHealth(8, 4, prefix="first_")

    def build(self, input_shape):
        self.quantizer.build(input_shape)
        self.dense.build(input_shape)

    def call(self, x, training=False):
        return self.dense(self.quantizer(x, training=training))

    @property
    def metrics(self):
        return [*super().metrics, *self.health.metrics]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        found = self.quantizer.match(x)
        self.health.update(found, self.quantizer.movement, self.quantizer.revived_in_step)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def test_fit_tells_the_health_of_a_codebook():
    model = Tracked()
    model.build((None, 4))
    model.quantizer.set_codebook(np.concatenate([drawn(6, 4, seed=3), 1000 + drawn(2, 4)]))  # two codes that nothing is near to
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=keras.backend.backend() == "jax")
    history = model.fit(drawn(160, 4), drawn(160, 3, seed=1), batch_size=32, shuffle=False, verbose=0).history
    values = {name.removeprefix("first_"): value[0] for name, value in history.items() if name.startswith("first_")}
    assert set(values) == {"perplexity", "active_code_share", "quantization_error_ratio", "code_norm_ratio", "codebook_movement", "revived_codes"}
    assert 1 < values["perplexity"] <= 8 and 0 < values["active_code_share"] <= 1 and 0 < values["quantization_error_ratio"] < 1
    assert 0.1 < values["code_norm_ratio"] < 1.2 and values["codebook_movement"] > 0
    assert values["revived_codes"] == float(numbers(model.quantizer.revived)) >= 2


@pytest.mark.parametrize("metric", [CodebookPerplexity(8, name="a"), ActiveCodeShare(8, least=0.2, name="b"), QuantizationErrorRatio(3, name="c"), RevivedCodes(name="d")])
def test_metrics_keep_their_settings_in_a_file(metric):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric) and again.get_config() == metric.get_config()


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="`codebook_size` must be at least 1. Received: codebook_size=0"):
        CodebookPerplexity(0)
    with pytest.raises(ValueError, match="`least` must lie above 0 and not above 1. Received: least=2"):
        ActiveCodeShare(4, least=2)

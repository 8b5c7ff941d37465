"""The Keras metric against the definition, in a model and across its config."""

import json
import math

import keras
import numpy as np
import pytest

from kseparation.metrics import METRICS, GlobalSDRMetric


def definition(reference, estimate):
    reference, estimate = np.float64(reference), np.float64(estimate)
    signal, error = np.sum(reference**2, axis=(2, 3)), np.sum((reference - estimate) ** 2, axis=(2, 3))
    return 10 * np.log10((signal + 1e-7) / (error + 1e-7))  # (batch, stems)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    reference = random.normal(size=(6, 3, 200, 2)).astype("float32")
    noise = random.normal(size=reference.shape) * np.array([0.01, 0.3, 2.0])[:, None, None]
    return reference, (reference + noise).astype("float32")


@pytest.mark.parametrize("stem_index", [None, 0, 2])
def test_is_the_mean_over_items_however_they_are_batched(batch, stem_index):
    reference, estimate = batch
    values = definition(reference, estimate)
    expected = values.mean() if stem_index is None else values[:, stem_index].mean()
    metric = GlobalSDRMetric(stem_index=stem_index)
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        metric.update_state(reference[part], estimate[part])
    assert float(metric.result()) == pytest.approx(expected, abs=1e-3)


def test_sample_weight_weighs_items(batch):
    reference, estimate = batch
    weights = np.array([0, 1, 2, 0, 0, 1], "float32")
    metric = GlobalSDRMetric()
    metric.update_state(reference, estimate, sample_weight=weights)
    expected = np.average(definition(reference, estimate).mean(axis=1), weights=weights)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("signal", "estimate"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_is_finite_for_silence_and_full_scale(signal, estimate):
    metric = GlobalSDRMetric()
    assert float(metric.result()) == 0.0
    metric.update_state(np.full((1, 1, 1, 2), signal, "float32"), np.full((1, 1, 1, 2), estimate, "float32"))
    assert math.isfinite(float(metric.result()))
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_half_precision_input_is_summed_in_float32():
    reference = np.full((1, 1, 100_000, 2), 1.0, "float16")  # the sum exceeds what float16 can hold
    metric = GlobalSDRMetric()
    metric.update_state(reference, reference * np.float16(0.5))
    assert float(metric.result()) == pytest.approx(6.0206, abs=1e-3)


def test_a_stem_that_is_not_there_is_refused(batch):
    with pytest.raises(ValueError, match="`stem_index` must not be negative. Received: stem_index=-1"):
        GlobalSDRMetric(stem_index=-1)
    with pytest.raises(ValueError, match="`stem_index` must be less than the number of stems, 3. Received: stem_index=3"):
        GlobalSDRMetric(stem_index=3).update_state(*batch)


def test_config_round_trip():
    metric = GlobalSDRMetric(stem_index=2, name="sdr_vocals")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, METRICS["global_sdr_metric"])
    assert (again.stem_index, again.name, again.dtype) == (2, "sdr_vocals", "float32")


def test_fit_and_evaluate_report_it_by_name(batch):
    reference, estimate = batch
    model = keras.Sequential([keras.Input((3, 200, 2)), keras.layers.Dense(2, "linear", False, "identity")])
    model.compile(
        keras.optimizers.SGD(0.0),
        loss="mse",
        metrics=[GlobalSDRMetric(), GlobalSDRMetric(stem_index=1, name="sdr_drums")],
    )
    model.fit(estimate, reference, batch_size=4, verbose=0)
    logs = model.evaluate(estimate, reference, batch_size=4, verbose=0, return_dict=True)
    values = definition(reference, estimate)
    assert logs["sdr_global"] == pytest.approx(values.mean(), abs=1e-3)
    assert logs["sdr_drums"] == pytest.approx(values[:, 1].mean(), abs=1e-3)

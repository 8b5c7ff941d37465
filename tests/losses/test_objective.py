"""The weighted sum of losses: parts, names, weights and config."""

import json

import keras
import numpy as np
import pytest

from kseparation.losses import MultiResolutionComplexSTFT, Objective, WaveformL1
from tests.on_backend import compute, compute_parts


def objective(windows=(64, 32), weights=None, schedules=None):
    spectral = MultiResolutionComplexSTFT(windows, 16, 1)
    return Objective({"wave": WaveformL1(), "spectral": spectral}, weights, schedules)


def batch():
    return np.random.default_rng(0).standard_normal((2, 2, 3, 100, 2)).astype("float32")


def test_parts_are_named_and_weighted_and_add_up():
    loss = objective(weights={"wave": 10.0})
    true, pred = batch()
    parts = compute_parts(loss, true, pred)
    assert list(parts) == loss.part_names() == ["wave", "spectral/64", "spectral/32"]
    assert parts["wave"] == pytest.approx(10 * np.abs(true - pred).mean(), rel=1e-5)
    spectral = compute_parts(loss.losses["spectral"], true, pred)
    assert parts["spectral/32"] == pytest.approx(spectral["32"].mean(), rel=1e-5)
    total = compute(loss, true, pred)
    assert total.shape == () and total.dtype == np.float32
    assert total == pytest.approx(sum(parts.values()), rel=1e-6)


def test_a_loss_of_weight_0_is_logged_as_it_is_and_does_not_count():
    loss = objective(weights={"spectral": 0.0})
    true, pred = batch()
    parts = compute_parts(loss, true, pred)
    assert parts["spectral/64"] == pytest.approx(compute_parts(loss.losses["spectral"], true, pred)["64"].mean(), rel=1e-5)
    assert compute(loss, true, pred) == pytest.approx(parts["wave"], rel=1e-6)


def test_a_loss_of_weight_0_cannot_spoil_the_others():
    class Broken(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return np.nan * (y_true - y_pred)

    loss = Objective({"wave": WaveformL1(), "broken": Broken()}, {"broken": 0.0})
    assert np.isnan(compute_parts(loss, *batch())["broken"]) and np.isfinite(compute(loss, *batch()))


def test_a_loss_of_one_part_has_its_own_name():
    loss = objective(windows=(64,))
    assert list(compute_parts(loss, *batch())) == loss.part_names() == ["wave", "spectral"]


def test_config_round_trip_through_json():
    loss = objective(weights={"spectral": 0.5})
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, Objective)
    assert again.weights == {"wave": 1.0, "spectral": 0.5}
    assert compute(again, *batch()) == compute(loss, *batch())


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ((3, 0), {0: 0, 2: 0, 3: 1, 9: 1}),
        ((0, 4), {0: 0.25, 1: 0.5, 3: 1, 9: 1}),
        ((2, 2), {0: 0, 1: 0, 2: 0.5, 3: 1, 9: 1}),
        ((0, 0), {0: 1, 9: 1}),
    ],
)
def test_a_scheduled_weight_is_off_rises_and_is_full(schedule, shares):
    loss = objective(weights={"spectral": 0.5}, schedules={"spectral": schedule})
    true, pred = batch()
    full = compute(loss, true, pred)
    wave, spectral = (compute(loss.losses[name], true, pred) * weight for name, weight in (("wave", 1.0), ("spectral", 0.5)))
    assert full == pytest.approx(wave + spectral, rel=1e-5)  # outside a training
    for step, share in shares.items():
        parts = compute(lambda true, pred, step: loss.parts(true, pred, step), true, pred, np.int32(step))
        assert parts["wave"] == pytest.approx(wave, rel=1e-5)
        assert parts["spectral/64"] + parts["spectral/32"] == pytest.approx(share * spectral, rel=1e-5)


def test_the_steps_in_which_a_part_begins_or_rises_are_told():
    loss = objective(schedules={"spectral": (5, 3)})
    assert [step for step in range(1, 20) if loss.weights_change(step)] == [6, 7, 8]
    assert [step for step in range(1, 20) if objective(schedules={"spectral": (5, 0)}).weights_change(step)] == [6]
    assert not any(objective().weights_change(step) for step in range(1, 20))


def test_schedules_are_kept_by_the_config():
    loss = objective(schedules={"spectral": (5, 7)})
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(loss))))
    assert again.schedules == loss.schedules == {"spectral": (5, 7)}


def test_beside_other_parts_none_of_its_losses_need_count():
    loss = Objective({"wave": WaveformL1(), "other": WaveformL1()}, {"wave": 0.0}, {"other": (5, 0)}, alone=False)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(loss))))
    parts = compute(lambda true, pred, step: again.parts(true, pred, step), *batch(), np.int32(0))
    assert parts["wave"] > 0 and parts["other"] == 0 and again.total(parts) == 0


def test_words_of_errors():
    with pytest.raises(ValueError, match="`schedules` names a loss that is not there. Received: wav. Did you mean `wave`"):
        objective(schedules={"wav": (1, 1)})
    with pytest.raises(ValueError, match="two numbers of steps from 0 on. Received: schedules.wave.=.-1, 2."):
        objective(schedules={"wave": (-1, 2)})
    with pytest.raises(ValueError, match="At least one loss must count from the first step"):
        objective(weights={"wave": 0.0}, schedules={"spectral": (5, 0)})
    with pytest.raises(ValueError, match="`weights` names a loss that is not there. Received: waves. Did you mean `wave`"):
        objective(weights={"waves": 1.0})
    with pytest.raises(ValueError, match="`losses` needs at least one loss. Received: losses={}"):
        Objective({})
    with pytest.raises(ValueError, match="A weight must be a number from 0 on. Received: weights.wave.=-1"):
        objective(weights={"wave": -1.0})
    with pytest.raises(ValueError, match="At least one loss needs a weight above 0"):
        objective(weights={"wave": 0.0, "spectral": 0.0})

import json

import numpy as np
import pytest

from kseparation.training.spikes import SpikeDetector


def course(steps=300, scatter=0.25, seed=0, start=1.0, end=0.3):
    """Losses as of a training: a fall, with scatter."""
    draw = np.random.default_rng(seed)
    return np.exp(np.linspace(np.log(start), np.log(end), steps) + scatter * draw.standard_normal(steps))


def alarms(losses, **arguments):
    detector = SpikeDetector(**arguments)
    return [(step, found) for step, loss in enumerate(losses) if (found := detector.see(loss))]


@pytest.mark.parametrize("seed", range(5))
def test_an_ordinary_course_gives_no_alarm(seed: int) -> None:
    assert alarms(course(2000, seed=seed)) == []
    assert alarms(course(500, scatter=0.6, seed=seed, start=30.0)) == []
    assert alarms(-course(500, seed=seed, start=1.0, end=20.0)) == []  # a loss that falls below zero


def test_a_single_leap_is_a_spike_and_nothing_after_it() -> None:
    losses = course()
    losses[200] *= 1e6
    assert alarms(losses) == [(200, "spike")]


def test_a_climb_is_a_divergence() -> None:
    losses = course(scatter=0.2)
    losses[200:] *= np.exp(np.minimum(np.arange(100) * 0.12, 2.0))
    found = alarms(losses)
    assert found[0][1] == "divergence" and 205 < found[0][0] < 235


def test_nothing_that_is_not_finite_gets_into_the_statistics() -> None:
    losses = course()
    losses[50], losses[60], losses[200] = np.nan, np.inf, losses[200] * 1e6
    assert alarms(losses) == [(200, "spike")]


def test_losses_that_stand_still_scatter_enough() -> None:
    assert alarms(np.r_[np.ones(100), 1.05, np.ones(20)]) == []
    assert alarms(np.r_[np.ones(100), 4.0]) == [(100, "spike")]


def test_the_first_steps_are_not_judged_and_zero_switches_it_off() -> None:
    assert alarms([1.0] * 10 + [1e9]) == []
    assert alarms(np.r_[np.ones(100), 1e9], threshold=0.0) == []


def test_the_state_survives_as_json() -> None:
    losses = course()
    losses[100], losses[299] = losses[100] * 1e6, 9.0
    whole = SpikeDetector()
    for loss in losses:
        whole.see(loss)
    later = SpikeDetector()
    later.restore(json.loads(json.dumps(whole.state())))
    assert later.compare(1.0) == whole.compare(1.0) and later.state() == whole.state()
    later.restore(None)
    assert later.compare(1e9) == (0.0, 1.0)


def test_silence_is_passed_over() -> None:
    """A loss of exactly zero has no logarithm; without it the scatter would be measured on another scale."""
    losses = course(600, scatter=0.8)
    losses[::50] = 0.0
    assert alarms(losses) == []

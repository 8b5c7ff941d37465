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


def first_alarm(losses, begin):
    """(steps after `begin`, what it is) of the first alarm."""
    step, found = alarms(losses)[0]
    return step - begin, found


@pytest.mark.parametrize("seed", range(5))
def test_a_climb_is_a_divergence(seed: int) -> None:
    """The slower the later, but before the loss is ten times what it was."""
    for rate in (0.005, 0.01, 0.03, 0.12, 0.3, 0.7):
        losses = course(1000, scatter=0.2, seed=seed, start=0.5)
        losses[400:] *= np.exp(rate * np.arange(600))
        after, found = first_alarm(losses, 400)
        assert found in ("divergence", "spike") and 0 <= after <= 6 + np.log(5) / rate, rate
    losses = course(scatter=0.2, seed=seed)
    losses[200:] *= np.exp(np.minimum(np.arange(100) * 0.12, 2.0))
    assert alarms(losses)[0][1] == "divergence" and 205 < alarms(losses)[0][0] < 220


@pytest.mark.parametrize("seed", range(5))
def test_a_leap_that_stays_is_found(seed: int) -> None:
    for factor, latest, kinds in ((5.0, 8, {"divergence", "spike"}), (20.0, 0, {"spike"}), (1e4, 0, {"spike"})):
        losses = course(400, seed=seed, start=0.4)
        losses[200:] *= factor
        after, found = first_alarm(losses, 200)
        assert 0 <= after <= latest and found in kinds, factor


def two_modes(share, ratio, seed, steps=1000, scatter=0.25):
    draw = np.random.default_rng(seed)
    return np.where(draw.uniform(size=steps) < share, ratio, 1.0) * np.exp(scatter * draw.standard_normal(steps))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_losses_of_two_modes_give_no_alarm_once_both_were_seen(share: float, seed: int) -> None:
    for ratio in (3.0, 20.0, 300.0):
        losses = two_modes(share, ratio, seed)
        assert [found for found in alarms(losses) if found[0] >= 128] == [], ratio
        assert alarms(-losses[::-1]) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_leap_above_both_modes_is_a_spike_at_once_and_a_climb_is_found(share: float, seed: int) -> None:
    losses = two_modes(share, 100.0, seed)
    losses[600] = 8.1 * losses[472:600].max()
    assert [found for found in alarms(losses) if found[0] >= 128] == [(600, "spike")]
    losses = two_modes(share, 10.0, seed)
    losses[600:] *= np.exp(0.03 * np.arange(400))
    assert 600 < [step for step, _ in alarms(losses) if step >= 128][0] < 600 + 150


def returns(losses, every=100, keep=3, proving=20):
    """Steps at which a training with these losses returns, as often as it may, and one more at which it would end; those around a return are not met again."""
    detector, found, step, left_out = SpikeDetector(), [], 0, set()
    states = [(0, detector.state())]
    while step < len(losses) and len(found) < 4:
        step += 1
        if leap := detector.see(losses[step - 1] if step not in left_out else np.median(losses)):
            found.append((step, leap))
            left_out |= set(range(step - 50, step + 51))
            back = [state for state in states if step - state[0] > proving] or states[:1]
            step = back[-1][0]
            detector.go_back(json.loads(json.dumps(back[-1][1])))
            states = [state for state in states if state[0] <= step]
        elif step % every == 0:
            states = [*states, (step, detector.state())][-keep:]
    return found


@pytest.mark.parametrize("share", [1 / 50, 1 / 100, 1 / 150, 1 / 300])
def test_a_rare_loud_batch_makes_a_training_return_once_and_never_ends_it(share: float) -> None:
    for ratio in (4.0, 10.0, 1000.0):
        for seed in range(2):
            found = returns(two_modes(share, ratio, seed, steps=2500, scatter=0.1))
            assert len(found) <= 1 + (ratio == 4.0), (ratio, seed, found)


def test_a_leap_that_stays_after_a_return_is_a_divergence_and_ends_the_training() -> None:
    losses = course(600, scatter=0.1)
    losses[300:] *= 1e6  # the batches are drawn anew, and the loss is as high for all of them
    detector = SpikeDetector()
    for loss in losses[:250]:
        detector.see(loss)
    kept, found = detector.state(), []
    for _ in range(4):
        detector.go_back(kept)
        found.append(next((step, leap) for step, loss in enumerate(losses[250:], 250) if (leap := detector.see(loss))))
    assert found == [(300, "spike")] + [(304, "divergence")] * 3
    detector.go_back(kept)
    assert detector.see(10.0) == "spike"  # of another kind than the one that was met


@pytest.mark.parametrize("seed", range(2))
def test_losses_with_a_heavy_tail_give_no_alarm(seed: int) -> None:
    draw = np.random.default_rng(seed)
    for losses in (np.exp(draw.standard_normal(2000)), draw.exponential(size=2000), 1 + draw.pareto(4.0, 2000), draw.standard_normal(2000), -10 + 2 * draw.standard_normal(2000)):
        assert alarms(losses) == []


def test_a_return_takes_the_history_back() -> None:
    """What came after the state is forgotten, so that the same leap is found again, in the same step."""
    losses, detector = course(), SpikeDetector()
    losses[210:] *= 20.0
    for loss in losses[:190]:
        detector.see(loss)
    kept = json.loads(json.dumps(detector.state()))
    first = [detector.see(loss) for loss in losses[190:216]]
    detector.restore(kept)
    assert [detector.see(loss) for loss in losses[190:216]] == first and first.index("spike") == 20


def test_the_last_loss_is_compared_with_those_before_it() -> None:
    detector = SpikeDetector()
    for loss in [*np.ones(60), 20.0]:
        detector.see(loss)
    score, ratio = detector.compare(20.0)
    assert score == pytest.approx(np.log(20) / 0.05) and ratio == pytest.approx(20)


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

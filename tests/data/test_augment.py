import numpy as np
import pytest

from kseparation.audio.track import Track
from kseparation.data.augment import (
    AUGMENTATIONS,
    ChannelSwap,
    Gain,
    Polarity,
    Remix,
    SilentStem,
    StemChoice,
    draw_start,
)
from kseparation.errors import UserError

STEMS = ("vocals", "drums", "bass", "other")
SONGS = [Track(f"song {index}", {stem: "nowhere.wav" for stem in STEMS}, None, 8000, 2, 1000 + index) for index in range(5)]
EXAMPLES = 4000


def augmented(augmentation, gain=1.0):
    """All choices of many examples after one augmentation, by example."""
    draw = np.random.default_rng(1)
    return [augmentation([StemChoice(stem, 2, 7, gain) for stem in STEMS], draw, SONGS, 100) for _ in range(EXAMPLES)]


def within_four_deviations(hits, trials, probability):
    return abs(hits - trials * probability) <= 4 * np.sqrt(trials * probability * (1 - probability))


def test_gains_are_uniform_in_the_logarithm() -> None:
    gains = np.log([choice.gain for choices in augmented(Gain(0.5, 2.0)) for choice in choices])
    assert np.log(0.5) <= gains.min() < np.log(0.51) and np.log(1.98) < gains.max() <= np.log(2.0)
    counts = np.histogram(gains, bins=8, range=(np.log(0.5), np.log(2.0)))[0]
    assert all(within_four_deviations(count, len(gains), 1 / 8) for count in counts)


def test_gains_of_the_stems_are_independent() -> None:
    gains = np.log([[choice.gain for choice in choices] for choices in augmented(Gain(0.5, 2.0))])
    correlations = np.corrcoef(gains.T)[~np.eye(4, dtype=bool)]
    assert np.abs(correlations).max() < 4 / np.sqrt(EXAMPLES)


def test_gain_multiplies_what_is_there() -> None:
    assert all(choice.gain == -3.0 for choices in augmented(Gain(1.0, 1.0), gain=-3.0) for choice in choices)


def test_polarity_flips_its_share_of_the_stems() -> None:
    gains = [choice.gain for choices in augmented(Polarity(0.3), gain=0.7) for choice in choices]
    assert set(gains) == {0.7, -0.7}
    assert within_four_deviations(gains.count(-0.7), len(gains), 0.3)


def test_channels_swap_for_their_share_of_the_stems() -> None:
    swaps = [choice.swap_channels for choices in augmented(ChannelSwap(0.2)) for choice in choices]
    assert within_four_deviations(swaps.count(True), len(swaps), 0.2)


def test_two_swaps_are_none() -> None:
    draw = np.random.default_rng(0)
    choices = [StemChoice("vocals", 0, 0, swap_channels=True)]
    assert not ChannelSwap(1.0)(choices, draw, SONGS, 100)[0].swap_channels


def test_stems_fall_silent_for_their_share() -> None:
    gains = [choice.gain for choices in augmented(SilentStem(0.1)) for choice in choices]
    assert set(gains) == {0.0, 1.0}
    assert within_four_deviations(gains.count(0.0), len(gains), 0.1)


def test_remix_takes_its_share_of_examples_apart_and_draws_songs_evenly() -> None:
    examples = augmented(Remix(0.5))
    kept = [choices for choices in examples if all((choice.track, choice.start) == (2, 7) for choice in choices)]
    assert within_four_deviations(len(kept), EXAMPLES, 0.5)
    remixed = [choice for choices in examples if choices not in kept for choice in choices]
    counts = np.bincount([choice.track for choice in remixed], minlength=5)
    assert all(within_four_deviations(count, len(remixed), 1 / 5) for count in counts)
    starts = np.array([choice.start / (SONGS[choice.track].samples - 100) for choice in remixed])
    assert starts.min() < 0.01 and starts.max() == 1.0
    assert abs(starts.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(starts))
    assert [choice.stem for choice in remixed] == [*STEMS] * (len(remixed) // 4)


def test_a_remixed_stem_at_another_speed_stays_inside_its_song() -> None:
    fast = [StemChoice(stem, 1, 0, speed=2.0) for stem in STEMS]
    draw = np.random.default_rng(0)
    for _ in range(200):
        for choice in Remix(1.0)(fast, draw, SONGS, 100):
            assert choice.start + 2 * 100 <= SONGS[choice.track].samples


def test_a_song_shorter_than_a_segment_starts_at_zero() -> None:
    assert {draw_start(SONGS[0], 5000, np.random.default_rng(seed)) for seed in range(9)} == {0}
    assert draw_start(SONGS[0], 1000, np.random.default_rng(0)) == 0


@pytest.mark.parametrize("name", ["remix", "polarity", "channel_swap", "silent_stem"])
@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_a_probability_lies_between_0_and_1(name: str, probability: float) -> None:
    with pytest.raises(UserError, match=f"`probability` must lie between 0 and 1. Received: probability={probability}"):
        AUGMENTATIONS[name](probability)


@pytest.mark.parametrize("name", ["gain", "speed"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_factors_are_positive_and_in_order(name: str, low: float, high: float) -> None:
    with pytest.raises(UserError, match=f"`low` must be above 0 and at most `high`. Received: low={low}, high={high}"):
        AUGMENTATIONS[name](low, high)


def test_speeds_are_uniform_in_the_logarithm_and_stems_of_one_place_keep_together() -> None:
    examples = augmented(AUGMENTATIONS["speed"](0.8, 1.25))
    assert all(len({choice.speed for choice in choices}) == 1 for choices in examples)
    speeds = np.log([choices[0].speed for choices in examples])
    assert abs(speeds.mean()) < 4 * np.log(1.25) / np.sqrt(3 * EXAMPLES)
    assert np.log(0.8) <= speeds.min() < np.log(0.801) and np.log(1.249) < speeds.max() <= np.log(1.25)


def test_slopes_are_uniform_and_independent() -> None:
    slopes = np.array([[choice.tilt_db for choice in choices] for choices in augmented(AUGMENTATIONS["tilt"](3.0))])
    assert -3 <= slopes.min() < -2.99 and 2.99 < slopes.max() <= 3
    assert np.abs(np.corrcoef(slopes.T)[~np.eye(4, dtype=bool)]).max() < 4 / np.sqrt(EXAMPLES)


def test_a_slope_is_not_negative() -> None:
    with pytest.raises(UserError, match="`most_db` must not be negative. Received: most_db=-1.0"):
        AUGMENTATIONS["tilt"](-1.0)


@pytest.mark.parametrize(
    ("augmentation", "field"), [(Polarity(0.3), "gain"), (ChannelSwap(0.2), "swap_channels"), (SilentStem(0.1), "gain"), (Remix(1.0), "track"), (Remix(1.0), "start")]
)
def test_each_stem_has_a_draw_of_its_own(augmentation, field: str) -> None:
    values = np.array([[float(getattr(choice, field)) for choice in choices] for choices in augmented(augmentation)])
    assert np.abs(np.corrcoef(values.T)[~np.eye(4, dtype=bool)]).max() < 4 / np.sqrt(EXAMPLES)


@pytest.mark.parametrize("name", ["gain", "speed"])
def test_low_is_low_and_high_is_high(name: str) -> None:
    values = [getattr(choice, name) for choices in augmented(AUGMENTATIONS[name](0.8, 1.5)) for choice in choices]
    assert 0.799 < min(values) < 0.81 and 1.49 < max(values) < 1.501


def test_stems_of_different_places_have_speeds_of_their_own() -> None:
    choices = [StemChoice(stem, song, 7) for song, stem in enumerate(STEMS)]
    assert len({choice.speed for choice in AUGMENTATIONS["speed"]()(choices, np.random.default_rng(0), SONGS, 100)}) == 4

"""Each patch plays in tune and in time."""

import numpy as np
import pytest

from kseparation.data.builtin.score import Note
from kseparation.data.builtin.synthesiser import FAMILIES, SAMPLE_RATE, play_patch


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_has_energy_only_near_multiples_of_half_its_pitch(family: str) -> None:
    if family == "bell":
        multiples, share = np.array([1.0, 2.76, 5.4, 8.93]), 0.9
    else:
        multiples, share = np.arange(1, 60) / 2.0, 0.9
    audio = play_patch(family, [Note(0.0, 0.9, 57, 100)], SAMPLE_RATE, np.random.default_rng(1))
    power = np.abs(np.fft.rfft(audio[:, 0] * np.hanning(SAMPLE_RATE))) ** 2
    hertz = np.arange(len(power))
    near = np.min(np.abs(hertz[:, None] - 220.0 * multiples), axis=1) < 3.0 + 0.02 * hertz
    assert power[near].sum() > share * power.sum()
    assert audio.shape == (SAMPLE_RATE, 2)
    assert np.abs(audio).max() < 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_silent_outside_its_notes(family: str) -> None:
    audio = play_patch(family, [Note(0.2, 0.1, 60, 100)], SAMPLE_RATE, np.random.default_rng(0))
    assert not audio[: int(0.2 * SAMPLE_RATE)].any()
    assert np.abs(audio[int(0.2 * SAMPLE_RATE) :]).max() > 1e-4
    assert not audio[int(0.9 * SAMPLE_RATE) :].any()


def test_songs_draw_different_characters_and_the_same_seed_the_same() -> None:
    notes = [Note(0.0, 0.2, 48, 100)]
    first, again, other = (play_patch("saw bass", notes, 9000, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_notes_at_the_end_are_cut() -> None:
    assert play_patch(
        "organ", [Note(0.0, 5.0, 60, 100), Note(9.0, 1.0, 60, 100)], 1000, np.random.default_rng(0)
    ).shape == (1000, 2)

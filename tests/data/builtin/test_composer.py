"""Whole scores: in time, in key, with pauses of the voice; the same seed gives the same song."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from kseparation.data.builtin.composer import compose, vocal_silence
from kseparation.data.builtin.form import STEMS
from kseparation.data.builtin.grooves import GROOVES
from kseparation.data.builtin.harmony import KEYS, SCALES
from kseparation.data.builtin.score import Score, SungNote
from kseparation.data.builtin.settings import GENERATOR_VERSION

FAMILIES = [family for families in GROOVES.values() for family in families]


def song(seed: int, seconds: float = 20.0) -> Score:
    return compose(np.random.default_rng(seed), FAMILIES[seed % len(FAMILIES)], seconds, 57.0, 14)


SONGS = [song(seed) for seed in range(2 * len(FAMILIES))]


def test_the_same_seed_gives_the_same_song_and_another_seed_another() -> None:
    assert song(3) == song(3)
    assert song(3) != song(3 + len(FAMILIES))


def test_another_composer_has_another_version() -> None:
    """The cache and running trainings take songs of the same settings and the same version for the same."""
    scores = repr(SONGS[: len(FAMILIES)])
    ordered = re.sub(r"\{(.*?)\}", lambda names: str(sorted(names[1].split(", "))), scores)  # a set has no order
    coarse = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.4f}", ordered)  # last digits: the processor's
    assert (GENERATOR_VERSION, hashlib.sha256(coarse.encode()).hexdigest()[:16]) == (2, "89f7dab80bed9915")


def test_everything_begins_inside_the_song() -> None:
    for score in SONGS:
        events = [
            *score.drums,
            *score.bass.notes,
            *score.vocals,
            *(note for part in score.other for note in part.notes),
        ]
        assert all(0.0 <= event.start_seconds < 20.0 for event in events)
        assert all(1 <= event.velocity <= 127 for event in events)
        assert all(note.end_seconds <= 20.0 for note in score.vocals)


def test_every_stem_sounds_in_every_song() -> None:
    for score in SONGS:
        assert score.drums and score.bass.notes and score.vocals
        assert any(part.notes for part in score.other)


def test_the_voice_pauses_for_15_to_40_percent() -> None:
    for score in SONGS:
        assert 0.15 <= vocal_silence(score.vocals, 20.0) <= 0.40


def test_silence_counts_pauses_and_not_breaths() -> None:
    notes = [SungNote(start, 1.0, 60, 90, 0, 0) for start in (1.0, 2.1, 6.1)]
    assert vocal_silence(notes, 10.0) == pytest.approx((1.0 + 3.0 + 2.9) / 10.0)
    assert vocal_silence([], 10.0) == 1.0


def test_sung_notes_do_not_overlap_and_keep_to_the_scale() -> None:
    for score in SONGS:
        scale = {(KEYS.index(score.key) + step) % 12 for step in SCALES[score.scale]}
        assert {note.pitch % 12 for note in score.vocals} <= scale
        for before, after in zip(score.vocals, score.vocals[1:], strict=False):
            assert before.end_seconds <= after.start_seconds + 1e-9


def test_stems_rest_in_the_sections_that_say_so() -> None:
    resting = Counter(stem for score in SONGS for section in score.sections for stem in set(STEMS) - section.stems)
    assert set(resting) == set(STEMS)
    for score in SONGS:
        bar_seconds = 60.0 / score.tempo * (3 if score.groove == "waltz" else 4)
        for section in score.sections:
            begin, end = section.first_bar * bar_seconds + 0.1, section.end_bar * bar_seconds - 0.1
            played = {
                "drums": [hit for hit in score.drums if begin < hit.start_seconds < end],
                "bass": [note for note in score.bass.notes if begin < note.start_seconds < end],
            }
            assert all(not played[stem] for stem in set(played) - section.stems)


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.0, 3.0])
def test_short_songs_have_every_stem(seconds: float) -> None:
    for seed in range(12):
        score = song(seed, seconds)
        assert score.vocals
        assert any("vocals" in section.stems for section in score.sections)

"""Chords lie in the scale, voicings around their centre."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kseparation.data.builtin.harmony import KEYS, SCALES, Harmony, draw_harmony, nearest_pitch, voicing


@given(st.integers(0, 10_000))
def test_chords_are_thirds_of_the_scale(seed: int) -> None:
    harmony = draw_harmony(np.random.default_rng(seed))
    scale = {(harmony.key + step) % 12 for step in SCALES[harmony.scale]}
    for bar in range(8):
        chord = harmony.chord(bar)
        assert set(chord.tones) <= scale
        assert chord.root == chord.tones[0]
        assert [(after - before) % 12 for before, after in zip(chord.tones, chord.tones[1:], strict=False)] <= [5] * 3


def test_c_major_and_its_dominant_seventh() -> None:
    harmony = Harmony(KEYS.index("C"), "major", (0, 4), 1, True)
    assert harmony.chord(0).tones == (0, 4, 7, 11)
    assert harmony.chord(1).tones == (7, 11, 2, 5)
    assert harmony.chord(2) == harmony.chord(0)


def test_two_chords_in_a_bar() -> None:
    harmony = Harmony(0, "major", (0, 4, 5, 3), 2, False)
    assert [harmony.chord(bar, share).root for bar in (0, 1) for share in (0.0, 0.5)] == [0, 7, 9, 5]


@given(st.integers(0, 11), st.floats(20.0, 100.0))
def test_nearest_pitch_is_within_a_tritone(pitch_class: int, near: float) -> None:
    pitch = nearest_pitch(pitch_class, near)
    assert pitch % 12 == pitch_class
    assert abs(pitch - near) <= 6.0


@given(st.integers(0, 10_000), st.integers(3, 4), st.floats(45.0, 75.0))
def test_voicings_rise_and_hold_only_tones_of_the_chord(seed: int, size: int, centre: float) -> None:
    chord = draw_harmony(np.random.default_rng(seed)).chord(0)
    pitches = voicing(chord, centre, size)
    assert len(pitches) == size
    assert list(pitches) == sorted(set(pitches))
    assert {pitch % 12 for pitch in pitches} <= set(chord.tones)


def test_scale_pitches_of_a_minor() -> None:
    harmony = Harmony(KEYS.index("A"), "minor", (0,), 1, False)
    assert harmony.scale_pitches(57, 69).tolist() == [57, 59, 60, 62, 64, 65, 67, 69]

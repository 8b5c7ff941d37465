"""Speech becomes syllables with a vowel in the middle; the splits share no voice."""

from itertools import combinations

import numpy as np
import pytest

from kseparation.data.builtin import world_singer
from kseparation.data.builtin.settings import SPLITS
from kseparation.data.builtin.voices import LANGUAGES, VARIANTS, Voice, draw_lyrics, interpolate_frames, prepare_singer
from kseparation.errors import MachineError


def test_languages_and_variants_of_the_splits_are_disjoint() -> None:
    for first, second in combinations(SPLITS, 2):
        assert not set(LANGUAGES[first]) & set(LANGUAGES[second])
        assert not set(sum(VARIANTS[first], ())) & set(sum(VARIANTS[second], ()))


def test_a_syllable_has_a_voiced_nucleus_and_full_bandwidth() -> None:
    singer = prepare_singer(Voice("es", "m3", 60, 1.0), ("la", "so", "ti"))
    assert len(singer.syllables) == 3
    assert 70.0 < singer.spoken_hz < 160.0
    for syllable in singer.syllables:
        low, high = syllable.nucleus
        assert 0 <= low < high <= len(syllable.voiced)
        assert syllable.voiced[low:high].all()
        assert syllable.log_envelope.shape == syllable.aperiodicity.shape == (len(syllable.voiced), 1025)
        assert np.isfinite(syllable.log_envelope).all()
        assert (0.0 <= syllable.aperiodicity).all() and (syllable.aperiodicity <= 1.0).all()


def test_the_consonant_of_so_is_a_hiss() -> None:
    syllable = prepare_singer(Voice("es", "m3", 60, 1.0), ("so",)).syllables[0]
    bin_hz = 44100 / 2048
    treble = syllable.log_envelope[:, int(3000 / bin_hz) : int(8000 / bin_hz)].mean(axis=1)
    bass = syllable.log_envelope[:, : int(1000 / bin_hz)].mean(axis=1)
    brightness = treble - bass
    assert brightness[: syllable.nucleus[0]].max() > brightness[slice(*syllable.nucleus)].max() + 2.0
    assert not syllable.voiced[: syllable.nucleus[0] // 2].all()


def test_a_smaller_body_moves_the_envelope_up() -> None:
    plain, small = (prepare_singer(Voice("es", "m3", 60, shift), ("la",)).syllables[0] for shift in (1.0, 1.15))
    frame = sum(plain.nucleus) // 2
    centre = [
        float(np.sum(np.exp(s.log_envelope[frame]) * np.arange(1025)) / np.exp(s.log_envelope[frame]).sum())
        for s in (plain, small)
    ]
    assert centre[1] / centre[0] == pytest.approx(1.15, abs=0.03)


def test_the_same_voice_speaks_the_same_twice() -> None:
    first, second = (prepare_singer(Voice("it", "Mario", 60, 1.0), ("la", "ze")) for _ in range(2))
    for one, other in zip(first.syllables, second.syllables, strict=True):
        np.testing.assert_array_equal(one.log_envelope, other.log_envelope)


def test_text_without_a_vowel_gives_no_singer() -> None:
    assert prepare_singer(Voice("es", "m3", 60, 1.0), (" ",)) is None


def test_voices_that_cannot_be_used_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_singer, "draw_lyrics", lambda rng, count: (" ",) * count)
    with pytest.raises(MachineError, match=r"no clear syllables. Received: voices it\+f1, es\+m3."):
        world_singer.draw_world_singer(np.random.default_rng(0), [("it", "f1"), ("es", "m3")], 4)


def test_lyrics_have_a_vowel_each() -> None:
    assert all(set(text) & set("aeiou") for text in draw_lyrics(np.random.default_rng(0), 100))


def test_frames_are_interpolated_linearly_and_held_at_the_ends() -> None:
    frames = np.array([[0.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    places = np.array([-1.0, 0.5, 1.25, 9.0])
    np.testing.assert_allclose(interpolate_frames(frames, places), [[0, 10], [1, 15], [2.5, 25], [4, 40]])

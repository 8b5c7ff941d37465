"""What was sung is what was written: the finished sound is analysed again and held against the score."""

import numpy as np
import pyworld

from kseparation.data.builtin.score import SungNote
from kseparation.data.builtin.singing import SingingStyle, phrases_of, sing
from kseparation.data.builtin.voices import Voice, prepare_singer
from kseparation.data.builtin.world_singer import draw_world_singer

SAMPLE_RATE = 44100
PITCHES = (57, 60, 62, 64, 60)
MELODY = tuple(SungNote(0.3 + 0.5 * place, 0.48, pitch, 96, 0, place) for place, pitch in enumerate(PITCHES))
SINGER = prepare_singer(Voice("it", "f2", 60, 1.0), ("la", "mo", "ne", "di", "ra"))
PLAIN = SingingStyle()


def sung(style: SingingStyle = PLAIN) -> np.ndarray:
    return sing(MELODY, SINGER, style, 3 * SAMPLE_RATE, np.random.default_rng(0))


def test_the_sung_pitch_is_within_50_cents_of_the_score() -> None:
    audio = sung().astype(np.float64)
    f0, times = pyworld.harvest(audio, SAMPLE_RATE, f0_floor=80.0, f0_ceil=800.0)
    cents, voiced = [], []
    for note in MELODY:
        # The scoop at the beginning and the last consonant are meant to differ.
        inside = (times > note.start_seconds + 0.15) & (times < note.end_seconds - 0.12)
        voiced.append(np.mean(f0[inside] > 0))
        cents.append(1200 * np.log2(np.median(f0[inside][f0[inside] > 0]) / (440 * 2 ** ((note.pitch - 69) / 12))))
    assert min(voiced) > 0.9
    assert np.abs(cents).max() < 50.0


def test_it_is_silent_where_nothing_is_written() -> None:
    audio = sung()
    assert audio.shape == (3 * SAMPLE_RATE,)
    assert np.abs(audio[: SAMPLE_RATE // 10]).max() < 1e-3 * np.abs(audio).max()
    assert np.abs(audio[-SAMPLE_RATE // 20 :]).max() < 1e-3 * np.abs(audio).max()


def test_the_same_seed_sings_the_same() -> None:
    np.testing.assert_array_equal(sung(), sung())


def test_the_voice_reaches_above_the_band_of_the_speech() -> None:
    spectrum = np.abs(np.fft.rfft(sung())) ** 2
    hertz = np.fft.rfftfreq(3 * SAMPLE_RATE, 1 / SAMPLE_RATE)
    above = 10 * np.log10(spectrum[(hertz > 12000) & (hertz < 16000)].sum() / spectrum.sum())
    assert -70.0 < above < -15.0


def test_a_brighter_style_has_more_treble() -> None:
    hertz = np.fft.rfftfreq(3 * SAMPLE_RATE, 1 / SAMPLE_RATE)
    shares = []
    for tilt_db in (-6.0, 6.0):
        spectrum = np.abs(np.fft.rfft(sung(SingingStyle(tilt_db=tilt_db)))) ** 2
        shares.append(spectrum[hertz > 4000].sum() / spectrum.sum())
    assert shares[1] > 3.0 * shares[0]


def test_phrases_are_cut_at_pauses() -> None:
    later = tuple(SungNote(note.start_seconds + 5.0, 0.4, 60, 96, 1, 0) for note in MELODY[:2])
    assert [len(phrase) for phrase in phrases_of(MELODY + later)] == [5, 2]


def test_a_slurred_note_has_no_consonant_of_its_own() -> None:
    slurred = (MELODY[0], SungNote(0.78, 0.6, 60, 96, 0, 3, slurred=True))
    apart = (MELODY[0], SungNote(0.78, 0.6, 60, 96, 0, 3))
    audio = [
        sing(notes, SINGER, SingingStyle(), 2 * SAMPLE_RATE, np.random.default_rng(0)) for notes in (slurred, apart)
    ]
    # The stop of `di` in front of the beat interrupts the sound, a slur does not.
    around = slice(70 * 441, 80 * 441)
    levels = [np.sqrt(np.mean(sound[around].reshape(-1, 441) ** 2, axis=1)) for sound in audio]
    assert levels[0].min() > 2.0 * levels[1].min()


def test_a_singer_drawn_for_a_song_sings_in_a_human_range() -> None:
    singer = draw_world_singer(np.random.default_rng(0), [("it", "f1")], 6)
    assert 48.0 <= singer.centre <= 71.0
    assert singer.description["language"] == "it"
    assert np.abs(singer.sing(MELODY, SAMPLE_RATE, 0.0, np.random.default_rng(0))).max() > 0.0

"""The soundfont plays the written pitch at the written time, whatever the shift of its recordings."""

import numpy as np
import pytest

from kseparation.data.builtin.instruments import FontKit, Program
from kseparation.data.builtin.midi_rendering import SAMPLE_RATE, play_kit, play_program
from kseparation.data.builtin.score import DrumHit, Note

FLUTE = Program(73, "flute")


def pitch_hz(audio: np.ndarray) -> float:
    """The lowest strong line of the spectrum."""
    spectrum = np.abs(np.fft.rfft(audio[:, 0] * np.hanning(len(audio)), 1 << 18))
    strong = np.flatnonzero(spectrum > 0.3 * spectrum.max())[0]
    peak = strong + int(np.argmax(spectrum[strong : strong + 60]))
    return peak * SAMPLE_RATE / (1 << 18)


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_pitch_and_onset_stay_when_the_recordings_are_shifted(shift: int) -> None:
    audio = play_program(FLUTE, [Note(0.5, 1.0, 72, 100)], 2 * SAMPLE_RATE, shift)
    assert audio.shape == (2 * SAMPLE_RATE, 2)
    assert audio.dtype == np.float32
    assert 1200 * np.log2(pitch_hz(audio[SAMPLE_RATE * 6 // 10 : SAMPLE_RATE * 14 // 10]) / 523.25) == pytest.approx(
        0.0, abs=25.0
    )
    first = np.flatnonzero(np.abs(audio).max(axis=1) > 0.02 * np.abs(audio).max())[0] / SAMPLE_RATE
    assert 0.48 < first < 0.6


def test_a_shift_changes_the_timbre() -> None:
    plain, shifted = (
        play_program(Program(0, "piano 1"), [Note(0.0, 1.0, 60, 100)], SAMPLE_RATE, shift) for shift in (0, 3)
    )
    spectra = [np.abs(np.fft.rfft(audio[:, 0])) for audio in (plain, shifted)]
    assert np.corrcoef(*spectra)[0, 1] < 0.99


def test_drums_sound_when_they_are_struck() -> None:
    hits = [DrumHit(0.25, "kick", 110), DrumHit(0.75, "snare", 110)]
    audio = play_kit(FontKit(0, "standard"), hits, SAMPLE_RATE)
    level = np.abs(audio).max(axis=1)
    for hit in hits:
        start = int(hit.start_seconds * SAMPLE_RATE)
        assert level[start : start + 2000].max() > 0.05
    assert level[: int(0.24 * SAMPLE_RATE)].max() < 1e-3


def test_no_notes_are_silence() -> None:
    assert not play_program(FLUTE, [], 1000).any()


def test_it_renders_the_same_twice() -> None:
    notes = [Note(0.0, 0.2, 60, 90), Note(0.2, 0.2, 60, 90)]
    np.testing.assert_array_equal(play_program(FLUTE, notes, 20000), play_program(FLUTE, notes, 20000))

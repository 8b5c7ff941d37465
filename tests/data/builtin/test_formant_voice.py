"""The synthetic singer keeps the pitch, and its vowels differ."""

import numpy as np
import pyworld

from kseparation.data.builtin.formant_voice import SAMPLE_RATE, FormantSinger, draw_formant_singer
from kseparation.data.builtin.score import SungNote
from kseparation.data.builtin.settings import SPLITS
from kseparation.data.builtin.singing import SingingStyle

MELODY = tuple(SungNote(0.2 + 0.5 * place, 0.48, pitch, 96, 0, place) for place, pitch in enumerate((57, 60, 64)))


def singer(*vowels: str) -> FormantSinger:
    return FormantSinger(1.0, vowels, (3000.0,), SingingStyle(), 60.0)


def test_the_sung_pitch_is_within_50_cents_of_the_score() -> None:
    audio = singer("a", "o", "e").sing(MELODY, 2 * SAMPLE_RATE, 0.0, np.random.default_rng(0)).astype(np.float64)
    f0, times = pyworld.harvest(audio, SAMPLE_RATE, f0_floor=80.0, f0_ceil=800.0)
    for note in MELODY:
        inside = (times > note.start_seconds + 0.15) & (times < note.end_seconds - 0.05)
        assert abs(1200 * np.log2(np.median(f0[inside]) / (440 * 2 ** ((note.pitch - 69) / 12)))) < 50.0


def test_it_is_silent_outside_its_phrases() -> None:
    audio = singer("a").sing(MELODY, 3 * SAMPLE_RATE, 0.0, np.random.default_rng(0))
    assert not audio[: int(0.19 * SAMPLE_RATE)].any()
    assert not audio[2 * SAMPLE_RATE :].any()


def test_a_has_its_energy_higher_than_u() -> None:
    centres = []
    for vowel in ("a", "u"):
        audio = singer(vowel).sing(MELODY[:1], SAMPLE_RATE, 0.0, np.random.default_rng(0))[
            SAMPLE_RATE // 3 : SAMPLE_RATE // 2
        ]
        power = np.abs(np.fft.rfft(audio)) ** 2
        centres.append(np.sum(power * np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)) / power.sum())
    assert centres[0] > 1.5 * centres[1]


def test_bodies_of_the_splits_do_not_overlap() -> None:
    sizes = {split: [draw_formant_singer(np.random.default_rng(n), split).size for n in range(50)] for split in SPLITS}
    assert max(sizes["train"]) < min(sizes["validation"]) <= max(sizes["validation"]) < min(sizes["test"])

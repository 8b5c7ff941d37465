"""Composes a song: form, chords, drums, bass, accompaniment and melody, played by hands that are not quite exact."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kseparation.data.builtin.accompaniment import accompany, draw_roles
from kseparation.data.builtin.bass_figures import draw_figures, play_figure
from kseparation.data.builtin.drumming import choose, drum_part
from kseparation.data.builtin.form import draw_form
from kseparation.data.builtin.grooves import GrooveFamily
from kseparation.data.builtin.harmony import KEYS, Harmony, draw_harmony
from kseparation.data.builtin.melody import compose_melody
from kseparation.data.builtin.score import DrumHit, Grid, Note, Part, Score, Section, SungNote

_TIMING_SECONDS = {"drums": 0.004, "bass": 0.007, "other": 0.008, "vocals": 0.012}
_VOCAL_SILENCE = (0.15, 0.40)


def compose(
    rng: np.random.Generator,
    family: GrooveFamily,
    seconds: float,
    voice_centre: float,
    syllables: int,
    centres: dict[str, float] | None = None,
) -> Score:
    """Composes one song.

    Args:
        rng: source of all choices; the same state gives the same song.
        family: style of the drums, which also decides tempo and bass.
        seconds: length of the song.
        voice_centre: MIDI pitch in the middle of the singer's range.
        syllables: number of syllables that the singer knows.
        centres: registers of the parts by role, and of the `bass`; a missing one is 60, the bass 34.
    """
    centres = centres or {}
    tempo = round(float(rng.uniform(*family.tempo)), 2)
    grid = Grid(tempo, family.beats, family.steps_per_beat, float(rng.uniform(0.0, family.swing)))
    harmony = draw_harmony(rng)
    bars = max(1, math.ceil(seconds / grid.bar_seconds))
    sections, vocals = _sung_form(rng, grid, harmony, bars, seconds, voice_centre, syllables)
    kick = choose(rng, family.kick)
    drums = _loosen_drums(rng, drum_part(rng, family, kick, grid, sections), seconds)
    bass = _bass_part(rng, family, kick, grid, harmony, sections, centres.get("bass", 34))
    others = tuple(
        Part(
            role,
            _loosen(
                rng, _other_part(rng, role, place, grid, harmony, sections, centres.get(role, 60)), "other", seconds
            ),
        )
        for place, role in enumerate(draw_roles(rng))
    )
    return Score(
        tempo,
        KEYS[harmony.key],
        harmony.scale,
        family.name,
        harmony.loop,
        sections,
        drums,
        Part("bass", _loosen(rng, bass, "bass", seconds)),
        others,
        vocals,
    )


def vocal_silence(notes: Sequence[SungNote], seconds: float) -> float:
    """Returns the share of a song in which nobody sings; gaps below 0.3 s are breaths and do not count."""
    ends = [0.0, *(note.end_seconds for note in notes)]
    starts = [*(note.start_seconds for note in notes), seconds]
    return sum(gap for start, end in zip(starts, ends, strict=True) if (gap := start - end) >= 0.3) / seconds


def _sung_form(
    rng: np.random.Generator, grid: Grid, harmony: Harmony, bars: int, seconds: float, centre: float, syllables: int
) -> tuple[tuple[Section, ...], tuple[SungNote, ...]]:
    """Draws forms and melodies until the voice pauses for a usual share of the song; short songs take the nearest."""
    best, best_miss = None, math.inf
    for _ in range(40):
        sections = draw_form(rng, bars)
        kept = rng.uniform(0.7, 1.0)
        phrases = [
            bar
            for section in sections
            if "vocals" in section.stems
            for bar in range(section.first_bar, section.end_bar, 2)
            if rng.random() < kept
        ]
        notes = compose_melody(rng, grid, harmony, phrases, centre, syllables)
        sung = tuple(_loosen_voice(rng, notes, seconds))
        silence = vocal_silence(sung, seconds)
        miss = max(_VOCAL_SILENCE[0] - silence, silence - _VOCAL_SILENCE[1], 0.0)
        if sung and miss < best_miss:
            best, best_miss = (sections, sung), miss
        if best_miss == 0.0:
            break
    if best is None:
        sections = (Section("chorus", 0, bars, frozenset(("vocals", "drums", "bass", "other"))),)
        best = sections, (SungNote(0.0, 0.9 * seconds, round(centre), 100, 0, 0),)
    return best


def _bass_part(
    rng: np.random.Generator,
    family: GrooveFamily,
    kick: str,
    grid: Grid,
    harmony: Harmony,
    sections: tuple[Section, ...],
    centre: float,
) -> list[Note]:
    figures = [draw_figures(rng, name, grid.steps, kick) for name in rng.choice(family.bass, 2)]
    notes: list[Note] = []
    for section in sections:
        if "bass" in section.stems:
            pair = figures[section.name == "chorus"]
            for bar in range(section.first_bar, section.end_bar):
                notes += play_figure(pair[(bar - section.first_bar) % 2], bar, grid, harmony, centre)
    return notes


def _other_part(
    rng: np.random.Generator,
    role: str,
    place: int,
    grid: Grid,
    harmony: Harmony,
    sections: tuple[Section, ...],
    centre: float,
) -> list[Note]:
    """The first part plays in every section with accompaniment, the others come and go."""
    bars: list[int] = []
    for section in sections:
        # Answering instruments play mostly where nobody sings.
        chance = {True: 1.0, False: 0.65 if role not in ("counter", "riff") or "vocals" not in section.stems else 0.4}[
            place == 0
        ]
        if "other" in section.stems and rng.random() < chance:
            bars += range(section.first_bar, section.end_bar)
    return accompany(rng, role, grid, harmony, centre, bars)


def _loosen(rng: np.random.Generator, notes: list[Note], stem: str, seconds: float) -> tuple[Note, ...]:
    loose = []
    for note in notes:
        start = max(0.0, note.start_seconds + rng.normal(0.0, _TIMING_SECONDS[stem]))
        if start < seconds:
            velocity = int(np.clip(note.velocity + rng.normal(0.0, 5.0), 20, 127))
            loose.append(replace(note, start_seconds=start, velocity=velocity))
    return tuple(loose)


def _loosen_drums(rng: np.random.Generator, hits: list[DrumHit], seconds: float) -> tuple[DrumHit, ...]:
    loose = []
    for hit in hits:
        start = max(0.0, hit.start_seconds + rng.normal(0.0, _TIMING_SECONDS["drums"]))
        if start < seconds:
            loose.append(DrumHit(start, hit.piece, int(np.clip(hit.velocity + rng.normal(0.0, 6.0), 20, 127))))
    return tuple(sorted(loose, key=lambda hit: hit.start_seconds))


def _loosen_voice(rng: np.random.Generator, notes: list[SungNote], seconds: float) -> list[SungNote]:
    """Shifts the onsets, cuts each note where the next one begins, and drops what lies behind the end of the song."""
    starts = [max(0.0, note.start_seconds + rng.normal(0.0, _TIMING_SECONDS["vocals"])) for note in notes]
    loose = []
    for place, (note, start) in enumerate(zip(notes, starts, strict=True)):
        end = min(start + note.duration_seconds, seconds, *starts[place + 1 : place + 2])
        if end - start > 0.06:
            loose.append(replace(note, start_seconds=start, duration_seconds=end - start))
    return loose

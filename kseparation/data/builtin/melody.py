"""The sung melody: phrases of two bars, motifs that come back, chord tones on strong beats."""

from dataclasses import dataclass

import numpy as np

from kseparation.data.builtin.harmony import Harmony, nearest_pitch
from kseparation.data.builtin.score import Grid, SungNote


@dataclass(frozen=True)
class _Motif:
    """Rhythm, contour and syllables of a phrase of two bars."""

    steps: tuple[int, ...]
    held: tuple[int, ...]
    moves: tuple[int, ...]
    syllables: tuple[int, ...]


def compose_melody(
    rng: np.random.Generator, grid: Grid, harmony: Harmony, phrase_bars: list[int], centre: float, syllables: int
) -> list[SungNote]:
    """Composes the vocal line.

    Args:
        rng: source of all choices.
        grid: bars and steps.
        harmony: the chords.
        phrase_bars: first bar of each phrase; a phrase has two bars.
        centre: MIDI pitch in the middle of the singer's range.
        syllables: number of syllables that the singer knows.

    Returns:
        The notes in order; they do not overlap.
    """
    motifs = [_draw_motif(rng, grid, syllables) for _ in range(3)]
    form = [(0, 0, 1, 2), (0, 1, 0, 2), (0, 0, 0, 1), (0, 1, 2, 1)][rng.integers(4)]
    scale = harmony.scale_pitches(int(centre) - 7, int(centre) + 8)
    notes: list[SungNote] = []
    place = int(rng.integers(len(scale) // 3, 2 * len(scale) // 3))
    for phrase, bar in enumerate(phrase_bars):
        motif = motifs[form[phrase % 4]]
        start_place = place
        for index, (step, held, move, syllable) in enumerate(
            zip(motif.steps, motif.held, motif.moves, motif.syllables, strict=True)
        ):
            place = _inside(place + move, len(scale))
            pitch = _settle(harmony, grid, bar, step, int(scale[place]), strong=step % grid.steps_per_beat == 0)
            start = grid.seconds(bar + step // grid.steps, step % grid.steps)
            slurred = bool(index and held >= 2 and rng.random() < 0.1)
            notes.append(
                SungNote(
                    start, held * grid.step_seconds * 0.97, pitch, int(rng.integers(84, 108)), phrase, syllable, slurred
                )
            )
        place = start_place if rng.random() < 0.5 else place
    return notes


def _inside(place: int, size: int) -> int:
    """Reflects a place on the scale at the ends of the range."""
    place = -place if place < 0 else place
    return 2 * (size - 1) - place if place > size - 1 else place


def _settle(harmony: Harmony, grid: Grid, bar: int, step: int, pitch: int, strong: bool) -> int:
    if not strong:
        return pitch
    chord = harmony.chord(bar + step // grid.steps, (step % grid.steps) / grid.steps)
    return min((nearest_pitch(tone, pitch) for tone in chord.tones), key=lambda tone: abs(tone - pitch))


def _draw_motif(rng: np.random.Generator, grid: Grid, syllables: int) -> _Motif:
    # At high tempo only every second step is sung, otherwise the syllables become too short to be formed.
    every = 1 if grid.step_seconds > 0.15 else 2
    length = 2 * grid.steps
    rest = int(rng.integers(1, max(2, grid.steps // 4) + 1))
    first = int(rng.choice([0, 0, 0, every, grid.steps_per_beat]))
    density = rng.uniform(0.3, 0.75)
    steps = [first]
    for step in range(first + every, length - rest - every + 1, every):
        weight = 1.25 if step % grid.steps_per_beat == 0 else 0.75
        if rng.random() < density * weight:
            steps.append(step)
    held = [
        min(after - before, 2 * grid.steps_per_beat)
        for before, after in zip(steps, steps[1:] + [length - rest], strict=True)
    ]
    moves = [int(move) for move in rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3], len(steps))]
    return _Motif(
        tuple(steps),
        tuple(held),
        tuple(moves),
        tuple(int(syllable) for syllable in rng.integers(0, syllables, len(steps))),
    )

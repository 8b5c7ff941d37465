"""What the `other` instruments play: pads, chords, arpeggios, riffs, power chords, stabs and answering melodies."""

from collections.abc import Callable, Iterable

import numpy as np

from kseparation.data.builtin.harmony import Harmony, nearest_pitch, voicing
from kseparation.data.builtin.score import Grid, Note

_COMP_SIXTEEN = (
    "x...--x...--x...",
    "x-----x---x-----",
    "----x-------x---",
    "--x---x---x---x-",
    "x--x--x---x-x---",
    "x...x...x...x...",
    "x-x-x-x-x-x-x-x-",
    "x..x..x...x.x...",
    "--x--x----x--x--",
    "x-......x-......",
)
_COMP_TWELVE = ("x..x..x..x..", "x.....x.....", "--x--x--x--x", "---x.....x..", "x---x---x---", "----x...x...")
_STAB_SIXTEEN = ("x--x------------", "------x-x-------", "x.........x-x---", "----------x-x-x.", "x...............")
_STAB_TWELVE = ("x--x--------", "---------x-x", "x.....------")
_POWER_SIXTEEN = ("x.x.x.x.x.x.x.x.", "x.......x.......", "x-xxx-xxx-xxx-xx", "x...............", "x..x..x.x..x..x.")
_POWER_TWELVE = ("x-xx-xx-xx-x", "x...........", "x..x..x..x..")
_UP, _DOWN = (0, 1, 2, 3), (3, 2, 1, 0)
_ARPEGGIOS = (_UP, _DOWN, (0, 1, 2, 3, 2, 1), (0, 2, 1, 2), (0, 2, 1, 3), (0, 1, 2, 1), (3, 1, 2, 0))


def _strokes(pattern: str) -> Iterable[tuple[int, int]]:
    """Yields (step, held steps) of a pattern."""
    for step, symbol in enumerate(pattern):
        if symbol == "x":
            held = 1
            while step + held < len(pattern) and pattern[step + held] == ".":
                held += 1
            yield step, held


def _draw_pattern(rng: np.random.Generator, grid: Grid, sixteen: tuple[str, ...], twelve: tuple[str, ...]) -> str:
    patterns = sixteen if grid.steps == 16 else twelve
    return patterns[rng.integers(len(patterns))]


def _pad(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    size = int(rng.integers(3, 5))
    notes = []
    for bar in bars:
        for slot in range(harmony.chords_per_bar):
            share = slot / harmony.chords_per_bar
            start = (bar + share) * grid.bar_seconds
            length = grid.bar_seconds / harmony.chords_per_bar
            notes += [
                Note(start, length * 0.98, pitch, 84) for pitch in voicing(harmony.chord(bar, share), centre, size)
            ]
    return notes


def _chords(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    patterns = [_draw_pattern(rng, grid, _COMP_SIXTEEN, _COMP_TWELVE) for _ in range(2)]
    size, strum, short = int(rng.integers(3, 5)), float(rng.choice([0.0, 0.006, 0.014])), float(rng.uniform(0.5, 0.95))
    notes = []
    for bar in bars:
        for step, held in _strokes(patterns[bar % 2 if rng.random() < 0.5 else 0]):
            start = grid.seconds(bar, step)
            length = max(held, 1.5) * grid.step_seconds * short
            accent = 96 if step % (2 * grid.steps_per_beat) == 0 else 84
            for string, pitch in enumerate(voicing(harmony.chord(bar, step / grid.steps), centre, size)):
                notes.append(Note(start + string * strum, length, pitch, accent))
    return notes


def _arpeggio(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    order = _ARPEGGIOS[rng.integers(len(_ARPEGGIOS))]
    every = (
        int(rng.choice([1, 2]))
        if grid.steps_per_beat == 4 and grid.tempo < 110
        else (2 if grid.steps_per_beat == 4 else 1)
    )
    ring = float(rng.uniform(0.9, 3.0))
    notes = []
    for bar in bars:
        for count, step in enumerate(range(0, grid.steps, every)):
            pitches = voicing(harmony.chord(bar, step / grid.steps), centre, 4)
            notes.append(
                Note(
                    grid.seconds(bar, step),
                    ring * every * grid.step_seconds,
                    pitches[order[count % len(order)]],
                    90 if count % 4 == 0 else 78,
                )
            )
    return notes


def _riff(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    motif = _motif(rng, grid, density=0.45)
    scale = harmony.scale_pitches(int(centre) - 9, int(centre) + 12)
    notes = []
    for bar in bars:
        root = nearest_pitch(harmony.chord(bar).root, centre)
        base = int(np.argmin(np.abs(scale - root)))
        for step, held, degree in motif:
            pitch = int(scale[np.clip(base + degree, 0, len(scale) - 1)])
            notes.append(Note(grid.seconds(bar, step), held * grid.step_seconds * 0.9, pitch, 96))
    return notes


def _motif(rng: np.random.Generator, grid: Grid, density: float) -> list[tuple[int, int, int]]:
    """Draws (step, held steps, scale degrees above the root) of a one-bar figure."""
    steps = [
        step for step in range(grid.steps) if step == 0 or rng.random() < density * (1.3 if step % 2 == 0 else 0.5)
    ]
    degree, motif = 0, []
    for step, following in zip(steps, steps[1:] + [grid.steps], strict=True):
        motif.append((step, min(following - step, 4), degree))
        degree = int(np.clip(degree + rng.choice([-2, -1, -1, 0, 1, 1, 2]), -3, 5))
    return motif


def _power(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    pattern = _draw_pattern(rng, grid, _POWER_SIXTEEN, _POWER_TWELVE)
    octave = rng.random() < 0.5
    notes = []
    for bar in bars:
        for step, held in _strokes(pattern):
            root = nearest_pitch(harmony.chord(bar, step / grid.steps).root, centre)
            fifth = root + (harmony.chord(bar, step / grid.steps).tones[2] - root) % 12
            for pitch in (root, fifth, root + 12) if octave else (root, fifth):
                notes.append(
                    Note(grid.seconds(bar, step), held * grid.step_seconds * 0.9, pitch, 98 if step == 0 else 88)
                )
    return notes


def _stabs(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    pattern = _draw_pattern(rng, grid, _STAB_SIXTEEN, _STAB_TWELVE)
    notes = []
    for bar in bars:
        for step, held in _strokes(pattern if rng.random() < 0.85 else pattern[::-1].replace(".", "-")):
            for pitch in voicing(harmony.chord(bar, step / grid.steps), centre, 3):
                notes.append(Note(grid.seconds(bar, step), max(held * 0.9, 1.0) * grid.step_seconds, pitch, 104))
    return notes


def _counter(rng: np.random.Generator, grid: Grid, harmony: Harmony, centre: float, bars: list[int]) -> list[Note]:
    scale = harmony.scale_pitches(int(centre) - 8, int(centre) + 10)
    place = len(scale) // 2
    notes = []
    for bar in bars:
        steps = [
            step
            for step in range(0, grid.steps, 2)
            if rng.random() < (0.55 if step % grid.steps_per_beat == 0 else 0.3)
        ] or [0]
        for step, following in zip(steps, steps[1:] + [grid.steps], strict=True):
            place = int(np.clip(place + rng.choice([-2, -1, 1, 1, -1, 2, 3, -3]), 0, len(scale) - 1))
            pitch = int(scale[place])
            if step % (grid.steps // 2) == 0:
                chord = harmony.chord(bar, step / grid.steps)
                pitch = min(
                    (nearest_pitch(tone, pitch) for tone in chord.tones), key=lambda tone: abs(tone - scale[place])
                )
            notes.append(Note(grid.seconds(bar, step), (following - step) * grid.step_seconds * 0.93, pitch, 92))
    return notes


_Role = Callable[[np.random.Generator, Grid, Harmony, float, list[int]], list[Note]]
ROLES: dict[str, _Role] = {
    "pad": _pad,
    "comp": _chords,
    "arpeggio": _arpeggio,
    "riff": _riff,
    "power": _power,
    "stabs": _stabs,
    "counter": _counter,
}


def draw_roles(rng: np.random.Generator) -> tuple[str, ...]:
    """Draws one to four different roles; the first is one that fills the harmony."""
    first = str(rng.choice(["comp", "pad", "arpeggio", "power"], p=[0.5, 0.22, 0.16, 0.12]))
    more = [role for role in ROLES if role != first]
    count = int(rng.choice([0, 1, 2, 3], p=[0.15, 0.4, 0.3, 0.15]))
    return (first, *(str(role) for role in rng.choice(more, count, replace=False)))


def accompany(
    rng: np.random.Generator, role: str, grid: Grid, harmony: Harmony, centre: float, bars: list[int]
) -> list[Note]:
    """Returns the notes of one part in the given bars, without humanisation.

    Args:
        rng: source of the part's own choices.
        role: a name of `ROLES`.
        grid: bars and steps.
        harmony: the chords.
        centre: MIDI pitch around which the part lies.
        bars: numbers of the bars in which it plays.
    """
    return ROLES[role](rng, grid, harmony, centre, bars)

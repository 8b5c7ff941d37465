"""Scales, chord loops and the chords in each bar."""

from dataclasses import dataclass

import numpy as np

KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}

# Scale degrees from 0, one chord a slot.
_MAJOR_LOOPS = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 4, 4),
    (0, 3, 0, 4),
    (0, 2, 3, 4),
    (3, 4, 2, 5),
    (0, 4, 1, 3),
    (1, 4, 0, 5),
    (0, 5, 1, 4),
    (3, 0, 4, 5),
    (0, 1, 3, 0),
    (3, 3, 0, 4),
    (0, 4, 3, 3),
    (5, 4, 3, 4),
    (0, 0, 3, 4),
)
_MINOR_LOOPS = (
    (0, 5, 2, 6),
    (0, 3, 4, 0),
    (0, 6, 5, 6),
    (0, 6, 5, 4),
    (0, 3, 6, 2),
    (0, 2, 6, 3),
    (0, 0, 5, 6),
    (0, 4, 5, 3),
    (5, 6, 0, 0),
    (0, 3, 0, 4),
    (3, 4, 0, 0),
    (0, 5, 3, 4),
    (0, 2, 5, 6),
    (0, 6, 0, 3),
)
_MIXOLYDIAN_LOOPS = ((0, 6, 3, 0), (0, 0, 6, 3), (0, 3, 6, 0), (0, 4, 6, 3), (0, 6, 0, 6))
_DORIAN_LOOPS = ((0, 3, 0, 3), (0, 3, 6, 0), (0, 1, 3, 0), (0, 6, 3, 0), (0, 2, 3, 0))


@dataclass(frozen=True)
class Chord:
    """Pitch classes of a chord, root first."""

    root: int
    tones: tuple[int, ...]


@dataclass(frozen=True)
class Harmony:
    """Key, scale and one chord loop of a song.

    Args:
        key: pitch class of the tonic, 0 is C.
        scale: a name of `SCALES`.
        loop: scale degrees, from 0.
        chords_per_bar: 1 or 2.
        sevenths: whether chords have a seventh.
    """

    key: int
    scale: str
    loop: tuple[int, ...]
    chords_per_bar: int
    sevenths: bool

    def chord(self, bar: int, share: float = 0.0) -> Chord:
        """Returns the chord of a bar; `share` is the place inside the bar, 0 to 1."""
        slot = bar * self.chords_per_bar + int(share * self.chords_per_bar)
        degree = self.loop[slot % len(self.loop)]
        tones = tuple(self._pitch_class(degree + step) for step in ((0, 2, 4, 6) if self.sevenths else (0, 2, 4)))
        return Chord(tones[0], tones)

    def scale_pitches(self, low: int, high: int) -> np.ndarray:
        """Returns the MIDI pitches of the scale from `low` to `high`, both included."""
        classes = {self._pitch_class(degree) for degree in range(7)}
        return np.array([pitch for pitch in range(low, high + 1) if pitch % 12 in classes])

    def _pitch_class(self, degree: int) -> int:
        return (self.key + SCALES[self.scale][degree % 7]) % 12


def draw_harmony(rng: np.random.Generator) -> Harmony:
    """Draws key, scale and chord loop of a song."""
    scale = str(rng.choice(list(SCALES), p=[0.38, 0.12, 0.3, 0.14, 0.06]))
    loops = {"major": _MAJOR_LOOPS, "mixolydian": _MIXOLYDIAN_LOOPS, "dorian": _DORIAN_LOOPS}.get(scale, _MINOR_LOOPS)
    loop = loops[rng.integers(len(loops))]
    return Harmony(int(rng.integers(12)), scale, loop, int(rng.choice([1, 2], p=[0.8, 0.2])), bool(rng.random() < 0.35))


def nearest_pitch(pitch_class: int, near: float) -> int:
    """Returns the MIDI pitch of a pitch class that lies nearest to `near`."""
    return int(pitch_class + 12 * round((near - pitch_class) / 12))


def voicing(chord: Chord, centre: float, size: int) -> tuple[int, ...]:
    """Returns `size` pitches of a chord, stacked upwards around `centre`: the inversion follows from the register."""
    pitches = sorted(nearest_pitch(tone, centre) for tone in chord.tones)
    while len(pitches) < size:
        pitches.append(pitches[len(pitches) - len(chord.tones)] + 12)
    return tuple(pitches[:size])

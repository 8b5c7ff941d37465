"""The score of one song: what is played and sung when, before any sound is made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One note of an instrument. `pitch` is a MIDI number, `velocity` 1 to 127."""

    start_seconds: float
    duration_seconds: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class DrumHit:
    """One stroke on a piece of the kit, such as `snare`."""

    start_seconds: float
    piece: str
    velocity: int


@dataclass(frozen=True)
class SungNote:
    """One syllable on one pitch. A slurred note keeps the vowel of the note before it."""

    start_seconds: float
    duration_seconds: float
    pitch: int
    velocity: int
    phrase: int
    syllable: int
    slurred: bool = False

    @property
    def end_seconds(self) -> float:
        """Where the vowel ends."""
        return self.start_seconds + self.duration_seconds


@dataclass(frozen=True)
class Part:
    """The notes of one instrument and the role it has in the arrangement, such as `pad` or `comp`."""

    role: str
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Section:
    """A stretch of whole bars; `stems` play in it, the others are silent."""

    name: str
    first_bar: int
    bars: int
    stems: frozenset[str]

    @property
    def end_bar(self) -> int:
        """The first bar after the section."""
        return self.first_bar + self.bars


@dataclass(frozen=True)
class Score:
    """A whole song."""

    tempo: float
    key: str
    scale: str
    groove: str
    progression: tuple[int, ...]
    sections: tuple[Section, ...]
    drums: tuple[DrumHit, ...]
    bass: Part
    other: tuple[Part, ...]
    vocals: tuple[SungNote, ...]


@dataclass(frozen=True)
class Grid:
    """Bars and steps in seconds.

    Args:
        tempo: beats per minute.
        beats: beats in a bar.
        steps_per_beat: 4 for straight grooves, 3 for triplet ones.
        swing: delay of every second step, as a share of a step, 0 to 0.3; default 0.
    """

    tempo: float
    beats: int
    steps_per_beat: int
    swing: float = 0.0

    @property
    def steps(self) -> int:
        """Steps in a bar."""
        return self.beats * self.steps_per_beat

    @property
    def step_seconds(self) -> float:
        """Length of a step."""
        return 60.0 / self.tempo / self.steps_per_beat

    @property
    def bar_seconds(self) -> float:
        """Length of a bar."""
        return self.steps * self.step_seconds

    def seconds(self, bar: int, step: int) -> float:
        """Returns when a step of a bar begins."""
        late = self.swing if self.steps_per_beat == 4 and step % 2 else 0.0
        return bar * self.bar_seconds + (step + late) * self.step_seconds

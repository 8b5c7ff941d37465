"""A singer of the sampled renderer: an espeak-ng voice with a manner of singing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kseparation.data.builtin.score import SungNote
from kseparation.data.builtin.singing import SingingStyle, draw_style, sing
from kseparation.data.builtin.voices import Singer, Voice, draw_lyrics, prepare_singer
from kseparation.errors import MachineError


@dataclass(frozen=True)
class WorldSinger:
    """Voice, syllables and manner; `centre` is the MIDI pitch in the middle of the range."""

    voice: Voice
    singer: Singer
    style: SingingStyle
    centre: float

    @property
    def description(self) -> dict:
        """What `song.json` shows."""
        return {
            "language": self.voice.language,
            "variant": self.voice.variant,
            "formant_shift": round(self.voice.formant_shift, 3),
            "centre": round(self.centre, 1),
        }

    def sing(
        self, notes: tuple[SungNote, ...], samples: int, detune_semitones: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns float32 `(samples,)` at 44.1 kHz."""
        return sing(notes, self.singer, replace(self.style, detune_semitones=detune_semitones), samples, rng)


def draw_world_singer(rng: np.random.Generator, candidates: Sequence[tuple[str, str]], syllables: int) -> WorldSinger:
    """Lets the first of the candidates, pairs of language and variant, that speaks clearly learn its syllables.

    Raises:
        MachineError: none of them gave three clear syllables, as when the speech library does not work here.
    """
    for language, variant in candidates:
        voice = Voice(language, variant, int(rng.integers(48, 78)), float(rng.uniform(0.88, 1.16)))
        singer = prepare_singer(voice, draw_lyrics(rng, syllables))
        if singer is not None and len(singer.syllables) >= 3:
            break
    else:
        raise MachineError(
            f"espeak-ng speaks no clear syllables. Received: voices {', '.join(map('+'.join, candidates))}. "
            "Reinstall `espeakng-loader`, or set `renderer` to synthetic."
        )
    spoken = 69.0 + 12.0 * np.log2(singer.spoken_hz / 440.0)
    # People sing a few semitones above their speech.
    centre = float(np.clip(spoken + rng.uniform(4.0, 10.0), 48.0, 71.0))
    return WorldSinger(voice, singer, draw_style(rng), centre)

"""A singer of the sampled renderer: an espeak-ng voice with a manner of singing."""

from dataclasses import dataclass, replace

import numpy as np

from kseparation.data.builtin.score import SungNote
from kseparation.data.builtin.singing import SingingStyle, draw_style, sing
from kseparation.data.builtin.voices import Singer, Voice, draw_lyrics, draw_voice, prepare_singer


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
        return {"language": self.voice.language, "variant": self.voice.variant, "formant_shift": round(self.voice.formant_shift, 3), "centre": round(self.centre, 1)}

    def sing(self, notes: tuple[SungNote, ...], samples: int, detune_semitones: float, rng: np.random.Generator) -> np.ndarray:
        """Returns float32 `(samples,)` at 44.1 kHz."""
        return sing(notes, self.singer, replace(self.style, detune_semitones=detune_semitones), samples, rng)


def draw_world_singer(rng: np.random.Generator, split: str, syllables: int) -> WorldSinger:
    """Draws a voice of the split and lets it learn its syllables; voices that cannot speak them clearly are passed over."""
    while True:
        voice = draw_voice(rng, split)
        singer = prepare_singer(voice, draw_lyrics(rng, syllables))
        if len(singer.syllables) >= 3:
            break
    spoken = 69.0 + 12.0 * np.log2(singer.spoken_hz / 440.0)
    # People sing a few semitones above their speech.
    centre = float(np.clip(spoken + rng.uniform(3.0, 8.0), 50.0, 72.0))
    return WorldSinger(voice, singer, draw_style(rng), centre)

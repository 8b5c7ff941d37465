"""Who plays in a song: groove, kit, bass, accompaniment and singer, all from the song's own split."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from kseparation.data.builtin.accompaniment import ROLES
from kseparation.data.builtin.grooves import GROOVES, GrooveFamily
from kseparation.data.builtin.instruments import Kit, Sound, basses, kits, others
from kseparation.data.builtin.score import SungNote

_Choice = TypeVar("_Choice")


class SongSinger(Protocol):
    """What both renderers' singers can do."""

    centre: float

    @property
    def description(self) -> dict:
        """What `song.json` shows."""

    def sing(
        self, notes: tuple[SungNote, ...], samples: int, detune_semitones: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns float32 `(samples,)` at 44.1 kHz."""


@dataclass(frozen=True)
class Cast:
    """The choices of one song; `other` has a sound for every role, whichever the composer then uses."""

    groove: GrooveFamily
    kit: Kit
    bass: Sound
    other: dict[str, Sound]
    singer: SongSinger

    @property
    def centres(self) -> dict[str, float]:
        """The registers of bass and accompaniment by role."""
        return {role: sound.centre for role, sound in self.other.items()} | {"bass": self.bass.centre}


def take_turns(seed: int, split: str, what: str, index: int, options: Sequence[_Choice]) -> _Choice:
    """Returns the option of song `index`: all options come once, in shuffled order, before one comes again.

    So a few songs already differ as much as they can, which independent draws would not promise.
    """
    lap, place = divmod(index, len(options))
    order = np.random.default_rng([seed, zlib.crc32(f"{split} {what}".encode()), lap]).permutation(len(options))
    return options[order[place]]


def choose_cast(rng: np.random.Generator, seed: int, split: str, index: int, synthetic: bool, syllables: int) -> Cast:
    """Chooses everything that sounds in a song.

    Args:
        rng: source of the choices that do not take turns.
        seed: of the whole set.
        split: `train`, `validation` or `test`; no sound, voice or groove is in two of them.
        index: number of the song in its split.
        synthetic: whether only our own synthesiser plays.
        syllables: number of syllables the singer learns.
    """
    return Cast(
        take_turns(seed, split, "groove", index, GROOVES[split]),
        take_turns(seed, split, "kit", index, kits(split, synthetic)),
        take_turns(seed, split, "bass", index, basses(split, synthetic)),
        {role: take_turns(seed, split, role, index, others(split, role, synthetic)) for role in ROLES},
        _choose_singer(rng, seed, split, index, synthetic, syllables),
    )


def _choose_singer(
    rng: np.random.Generator, seed: int, split: str, index: int, synthetic: bool, syllables: int
) -> SongSinger:
    # Imported here: the sampled renderer's modules are not needed where the extra `music` is missing.
    if synthetic:
        from kseparation.data.builtin.formant_voice import draw_formant_singer

        return draw_formant_singer(rng, split)
    from kseparation.data.builtin.voices import LANGUAGES, VARIANTS
    from kseparation.data.builtin.world_singer import draw_world_singer

    languages = [take_turns(seed, split, "language", index + attempt, LANGUAGES[split]) for attempt in range(4)]
    register = VARIANTS[split][index % 2]
    variants = [take_turns(seed, split, "variant", index // 2 + attempt, register) for attempt in range(4)]
    return draw_world_singer(rng, list(zip(languages, variants, strict=True)), syllables)

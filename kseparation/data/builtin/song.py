"""One song: singer and score, sounds, effects, mixture and its description."""

from dataclasses import replace

import numpy as np

from kseparation.audio.resampling import resample
from kseparation.data.builtin import instruments, mixing
from kseparation.data.builtin.casting import Cast, choose_cast
from kseparation.data.builtin.composer import compose
from kseparation.data.builtin.form import STEMS
from kseparation.data.builtin.harmony import KEYS, SCALES
from kseparation.data.builtin.score import Score, SungNote
from kseparation.data.builtin.settings import SPLITS, BuiltinSettings

_SAMPLE_RATE = 44100
_SYLLABLES = 14
_SOURCES = {
    "sampled": [
        {
            "what": "instruments",
            "from": "TimGM6mb.sf2 in the package pretty_midi, played by midirenderer",
            "licence": "GPL-2 (soundfont), MIT (renderer)",
        },
        {
            "what": "voice",
            "from": "espeak-ng in the package espeakng-loader, sung by WORLD (pyworld)",
            "licence": "GPL-3-or-later (espeak-ng), modified BSD (WORLD)",
        },
        {"what": "composition, synthesised sounds and effects", "from": "kseparation", "licence": "MIT"},
    ],
    "synthetic": [{"what": "composition, all sounds and effects", "from": "kseparation", "licence": "MIT"}],
}


def make_song(
    settings: BuiltinSettings, renderer: str, split: str, index: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict]:
    """Composes, plays and mixes one song.

    Args:
        settings: seed, length and sample rate.
        renderer: `sampled` or `synthetic`.
        split: `train`, `validation` or `test`.
        index: number of the song in its split; the song depends on nothing else.

    Returns:
        The mixture and the stems, int16 `(samples, 2)`, and the record for `song.json`.
    """
    seeds = np.random.SeedSequence([settings.seed, SPLITS.index(split), index]).spawn(7)
    rngs = dict(zip(("cast", "score", *STEMS, "mix"), (np.random.default_rng(seed) for seed in seeds), strict=True))
    samples = round(settings.song_seconds * _SAMPLE_RATE)
    cast = choose_cast(rngs["cast"], settings.seed, split, index, renderer == "synthetic", _SYLLABLES)
    score = compose(rngs["score"], cast.groove, settings.song_seconds, cast.singer.centre, _SYLLABLES, cast.centres)
    shifts = {name: int(rngs["cast"].integers(-3, 4)) for name in ("drums", "bass")}
    stems = {
        "vocals": _vocals(cast, score, samples, rngs["vocals"]),
        "drums": mixing.produce_drums(
            _play_kit(cast.kit, score, samples, shifts["drums"], rngs["drums"]), rngs["drums"]
        ),
        "bass": mixing.produce_bass(
            _play(cast.bass, score.bass.notes, samples, shifts["bass"], rngs["bass"]), rngs["bass"]
        ),
        "other": _other(cast, score, samples, rngs["other"]),
    }
    if settings.sample_rate != _SAMPLE_RATE:
        stems = {stem: resample(audio, _SAMPLE_RATE, settings.sample_rate) for stem, audio in stems.items()}
    mixture, quantised = mixing.mix(stems, rngs["mix"])
    return mixture, quantised, _describe(settings, renderer, split, index, score, cast, shifts)


def _play(sound: instruments.Sound, notes: tuple, samples: int, shift: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(sound, instruments.Program):
        from kseparation.data.builtin.midi_rendering import play_program

        return play_program(sound, notes, samples, shift)
    from kseparation.data.builtin.synthesiser import play_patch

    return play_patch(sound.family, notes, samples, rng)


def _play_kit(kit: instruments.Kit, score: Score, samples: int, shift: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(kit, instruments.FontKit):
        from kseparation.data.builtin.midi_rendering import play_kit

        return play_kit(kit, score.drums, samples, shift)
    from kseparation.data.builtin.drum_synthesiser import play_synth_kit

    return play_synth_kit(kit.name, score.drums, samples, rng)


def _other(cast: Cast, score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Adds up the parts, none louder than the first by more than 1 dB, in a room that they share."""
    dry, sent = np.zeros((samples, 2), np.float32), np.zeros((samples, 2), np.float32)
    for place, part in enumerate(score.other):
        audio = _play(cast.other[part.role], part.notes, samples, int(rng.integers(-3, 4)), rng)
        audio = mixing.produce_part(audio, part.role, rng, score.tempo)
        gain_db = 0.0 if place == 0 else rng.uniform(-7.0, 1.0)
        rms = mixing.active_rms(audio)
        if rms > 0:
            audio *= np.float32(0.1 * 10.0 ** (gain_db / 20.0) / rms)
            dry += audio
            sent += np.float32(rng.uniform(0.03, 0.35)) * audio
    return dry + mixing.room(sent, rng)


def _vocals(cast: Cast, score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Lead, and in some songs a second take or a harmony a third above."""
    lead = cast.singer.sing(score.vocals, samples, 0.0, rng)
    layers = []
    if rng.random() < 0.25:
        layers.append(cast.singer.sing(score.vocals, samples, 0.08, rng))
    elif rng.random() < 0.2:
        layers.append(cast.singer.sing(_third_above(score), samples, 0.0, rng))
    return mixing.produce_vocals(lead, layers, rng, score.tempo)


def _third_above(score: Score) -> tuple[SungNote, ...]:
    """Returns the melody a third higher, inside the scale."""
    classes = {(KEYS.index(score.key) + step) % 12 for step in SCALES[score.scale]}
    return tuple(
        replace(note, pitch=next(note.pitch + up for up in (4, 3, 5) if (note.pitch + up) % 12 in classes))
        for note in score.vocals
    )


def _describe(
    settings: BuiltinSettings, renderer: str, split: str, index: int, score: Score, cast: Cast, shifts: dict
) -> dict:
    return {
        "split": split,
        "index": index,
        "seed": settings.seed,
        "renderer": renderer,
        "sample_rate": settings.sample_rate,
        "seconds": settings.song_seconds,
        "tempo": score.tempo,
        "key": score.key,
        "scale": score.scale,
        "progression": list(score.progression),
        "groove": score.groove,
        "sections": [
            {"name": section.name, "first_bar": section.first_bar, "bars": section.bars, "stems": sorted(section.stems)}
            for section in score.sections
        ],
        "kit": cast.kit.label,
        "bass": cast.bass.label,
        "other": {part.role: cast.other[part.role].label for part in score.other},
        "voice": cast.singer.description,
        "shifts": shifts,
        "sources": _SOURCES[renderer],
    }

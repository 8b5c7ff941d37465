"""One song: singer and score, sounds, effects, mixture and its description."""

from dataclasses import replace

import numpy as np

from kseparation.audio.resampling import resample
from kseparation.data.builtin import instruments, mixing
from kseparation.data.builtin.accompaniment import ROLES
from kseparation.data.builtin.composer import compose
from kseparation.data.builtin.form import STEMS
from kseparation.data.builtin.score import Score, SungNote
from kseparation.data.builtin.settings import SPLITS, BuiltinSettings

_SAMPLE_RATE = 44100
_LYRICS = 16
_SOURCES = {
    "sampled": [
        {"what": "instruments", "from": "TimGM6mb.sf2 in the package pretty_midi, played by midirenderer", "licence": "GPL-2 (soundfont), MIT (renderer)"},
        {"what": "voice", "from": "espeak-ng in the package espeakng-loader, sung by WORLD (pyworld)", "licence": "GPL-3-or-later (espeak-ng), modified BSD (WORLD)"},
        {"what": "composition, synthesised sounds and effects", "from": "kseparation", "licence": "MIT"},
    ],
    "synthetic": [{"what": "composition, all sounds and effects", "from": "kseparation", "licence": "MIT"}],
}


def make_song(settings: BuiltinSettings, renderer: str, split: str, index: int) -> tuple[np.ndarray, dict[str, np.ndarray], dict]:
    """Composes, plays and mixes one song.

    Args:
        settings: seed, length and sample rate.
        renderer: `sampled` or `synthetic`.
        split: `train`, `validation` or `test`.
        index: number of the song in its split; the song depends on nothing else.

    Returns:
        The mixture and the stems, int16 `(samples, 2)`, and the record for `song.json`.
    """
    seeds = np.random.SeedSequence([settings.seed, SPLITS.index(split), index]).spawn(8)
    rngs = dict(zip(("choice", "score", *STEMS, "mix"), (np.random.default_rng(seed) for seed in seeds), strict=False))
    samples = round(settings.song_seconds * _SAMPLE_RATE)
    synthetic = renderer == "synthetic"
    sounds = _draw_sounds(rngs["choice"], split, synthetic)
    singer = _draw_singer(rngs["choice"], split, synthetic)
    centres = {role: sound.centre for role, sound in sounds["other"].items()} | {"bass": sounds["bass"].centre}
    score = compose(rngs["score"], split, settings.song_seconds, singer.centre, _LYRICS, centres)
    shifts = {name: int(rngs["choice"].integers(-3, 4)) for name in ("drums", "bass")}
    stems = {
        "vocals": _vocals(singer, score, samples, rngs["vocals"]),
        "drums": mixing.produce_drums(_play_kit(sounds["drums"], score, samples, shifts["drums"], rngs["drums"]), rngs["drums"]),
        "bass": mixing.produce_bass(_play(sounds["bass"], score.bass.notes, samples, shifts["bass"], rngs["bass"]), rngs["bass"]),
        "other": _other(sounds["other"], score, samples, rngs["other"]),
    }
    if settings.sample_rate != _SAMPLE_RATE:
        stems = {stem: resample(audio, _SAMPLE_RATE, settings.sample_rate) for stem, audio in stems.items()}
    mixture, quantised = mixing.mix(stems, rngs["mix"])
    return mixture, quantised, _describe(settings, renderer, split, index, score, sounds, singer, shifts)


def _draw_sounds(rng: np.random.Generator, split: str, synthetic: bool) -> dict:
    """One sound for every role, drawn before the roles are known: the composer needs their registers."""
    return {
        "drums": instruments.draw_kit(rng, split, synthetic),
        "bass": instruments.draw_bass(rng, split, synthetic),
        "other": {role: instruments.draw_other(rng, split, role, synthetic) for role in ROLES},
    }


def _draw_singer(rng: np.random.Generator, split: str, synthetic: bool):
    if synthetic:
        from kseparation.data.builtin.formant_voice import draw_formant_singer

        return draw_formant_singer(rng, split)
    from kseparation.data.builtin.world_singer import draw_world_singer

    return draw_world_singer(rng, split, _LYRICS)


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


def _other(sounds: dict[str, instruments.Sound], score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Adds up the parts, each at its own level within 4 dB of the first."""
    total = np.zeros((samples, 2), np.float32)
    for place, part in enumerate(score.other):
        audio = _play(sounds[part.role], part.notes, samples, int(rng.integers(-3, 4)), rng)
        audio = mixing.produce_part(audio, part.role, rng, score.tempo)
        rms = mixing.effects.active_rms(audio)
        if rms > 0:
            gain_db = 0.0 if place == 0 else rng.uniform(-7.0, 1.0)
            total += audio * np.float32(0.1 * 10.0 ** (gain_db / 20.0) / rms)
    return total


def _vocals(singer, score: Score, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Lead, and in some songs a second take or a harmony a third above."""
    lead = singer.sing(score.vocals, samples, 0.0, rng)
    layers = []
    if rng.random() < 0.25:
        layers.append(singer.sing(score.vocals, samples, 0.08, rng))
    elif rng.random() < 0.2:
        layers.append(singer.sing(_third_above(score), samples, 0.0, rng))
    return mixing.produce_vocals(lead, layers, rng, score.tempo)


def _third_above(score: Score) -> tuple[SungNote, ...]:
    """Two notes up the scale of all sung pitches' key, which is enough for a harmony."""
    from kseparation.data.builtin.harmony import KEYS, SCALES

    classes = {(KEYS.index(score.key) + step) % 12 for step in SCALES[score.scale]}
    return tuple(replace(note, pitch=next(note.pitch + up for up in (4, 3, 5) if (note.pitch + up) % 12 in classes)) for note in score.vocals)


def _describe(settings: BuiltinSettings, renderer: str, split: str, index: int, score: Score, sounds: dict, singer, shifts: dict) -> dict:
    return {
        "split": split, "index": index, "seed": settings.seed, "renderer": renderer, "sample_rate": settings.sample_rate, "seconds": settings.song_seconds,
        "tempo": score.tempo, "key": score.key, "scale": score.scale, "progression": list(score.progression), "groove": score.groove,
        "sections": [{"name": section.name, "first_bar": section.first_bar, "bars": section.bars, "stems": sorted(section.stems)} for section in score.sections],
        "kit": sounds["drums"].label, "bass": sounds["bass"].label, "other": {part.role: sounds["other"][part.role].label for part in score.other},
        "voice": singer.description, "shifts": shifts, "sources": _SOURCES[renderer],
    }

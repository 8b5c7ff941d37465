"""Effects of each stem, its level, and the mixture as an exact sum of 16-bit stems."""

import numpy as np

from kseparation.data.builtin import effects
from kseparation.data.builtin.effects import active_rms
from kseparation.data.builtin.form import STEMS

PEAK = 0.92
# RMS while the stem sounds, and how far a song may go from it, in dB.
_ACTIVE_RMS = {"vocals": 0.075, "drums": 0.078, "bass": 0.085, "other": 0.065}
_LEVEL_SPREAD_DB = 3.0
_DRIVEN_ROLES = ("power", "riff")


def produce_part(audio: np.ndarray, role: str, rng: np.random.Generator, tempo: float) -> np.ndarray:
    """Gives one accompanying instrument its place: equaliser, drive, modulation, pan.

    Args:
        audio: float32 `(samples, 2)`, dry.
        role: its role in the arrangement, see `accompaniment.py`.
        rng: source of all choices.
        tempo: beats per minute, for echoes.
    """
    if role in _DRIVEN_ROLES and rng.random() < 0.45:
        audio = effects.equalise(
            effects.drive(audio, rng.uniform(2.0, 9.0)), ("low_pass", rng.uniform(4000.0, 7500.0), 0.0)
        )
    audio = effects.equalise(audio, ("high_pass", rng.uniform(70.0, 180.0), 0.0), *_draw_bands(rng))
    if role in ("pad", "comp", "arpeggio") and rng.random() < 0.35:
        audio = effects.chorus(audio, rng.uniform(0.3, 1.5), rng.uniform(0.001, 0.004), rng.uniform(0.3, 0.7))
    if rng.random() < 0.25:
        audio = effects.echo(
            audio, 60.0 / tempo * rng.choice([0.5, 0.75, 1.0]), rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.35)
        )
    audio = effects.widen(audio, rng.uniform(0.4, 1.2))
    place = rng.uniform(-0.7, 0.7) if role != "pad" else rng.uniform(-0.25, 0.25)
    return effects.pan(audio, place)


def room(sent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the answer of the room that the accompanying instruments share."""
    return effects.room(sent, rng, rng.uniform(0.4, 2.2), rng.uniform(2500.0, 9000.0))


def produce_drums(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Equaliser, compression, now and then saturation, and a room."""
    audio = effects.equalise(
        audio,
        ("low_shelf", rng.uniform(60.0, 110.0), rng.uniform(-2.0, 5.0)),
        ("peak", rng.uniform(250.0, 600.0), rng.uniform(-6.0, 1.0)),
        ("peak", rng.uniform(2000.0, 5000.0), rng.uniform(-3.0, 4.0)),
        ("high_shelf", rng.uniform(7000.0, 10000.0), rng.uniform(-5.0, 6.0)),
    )
    audio = effects.compress(
        audio, rng.uniform(4.0, 9.0), rng.uniform(2.0, 5.0), rng.uniform(0.003, 0.02), rng.uniform(0.06, 0.2)
    )
    if rng.random() < 0.25:
        audio = 0.6 * audio + 0.4 * effects.drive(audio, rng.uniform(0.8, 3.0))
    audio = effects.widen(audio, rng.uniform(0.5, 1.1))
    return effects.reverberate(audio, rng, rng.uniform(0.2, 0.9), rng.uniform(0.02, 0.2), rng.uniform(3000.0, 9000.0))


def produce_bass(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nearly mono, compressed, now and then overdriven."""
    audio = effects.equalise(
        audio,
        ("high_pass", rng.uniform(28.0, 42.0), 0.0),
        ("low_shelf", 110.0, rng.uniform(-2.0, 4.0)),
        ("peak", rng.uniform(500.0, 1200.0), rng.uniform(-4.0, 4.0)),
        ("high_shelf", 3000.0, rng.uniform(-8.0, 3.0)),
    )
    if rng.random() < 0.35:
        audio = 0.6 * audio + 0.4 * effects.drive(audio, rng.uniform(1.0, 5.0))
    audio = effects.compress(audio, rng.uniform(1.0, 4.0), rng.uniform(2.5, 5.0), 0.01, 0.15)
    return effects.widen(audio, rng.uniform(0.0, 0.3))


def produce_vocals(lead: np.ndarray, layers: list[np.ndarray], rng: np.random.Generator, tempo: float) -> np.ndarray:
    """Lead in the middle, second takes and harmonies at the sides, then compressor, echo and room.

    Args:
        lead: float32 `(samples,)`.
        layers: further voices of the same shape.
        rng: source of all choices.
        tempo: beats per minute, for echoes.

    Returns:
        float32 `(samples, 2)`.
    """
    audio = np.stack([lead, lead], axis=1)
    side = rng.uniform(0.3, 0.9)
    for layer in layers:
        audio = audio + rng.uniform(0.25, 0.5) * effects.pan(np.stack([layer, layer], axis=1), side)
        side = -side
    audio = effects.equalise(
        audio,
        ("high_pass", rng.uniform(80.0, 130.0), 0.0),
        ("peak", rng.uniform(250.0, 500.0), rng.uniform(-4.0, 1.0)),
        ("peak", rng.uniform(2000.0, 4500.0), rng.uniform(-1.0, 4.0)),
        ("high_shelf", rng.uniform(7000.0, 11000.0), rng.uniform(-2.0, 6.0)),
    )
    audio = effects.compress(audio, rng.uniform(0.0, 4.0), rng.uniform(2.0, 4.0), 0.006, 0.12)
    if rng.random() < 0.35:
        audio = effects.echo(
            audio, 60.0 / tempo * rng.choice([0.25, 0.5, 0.75]), rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.25)
        )
    return effects.reverberate(audio, rng, rng.uniform(0.5, 2.0), rng.uniform(0.05, 0.25), rng.uniform(3500.0, 9000.0))


def mix(stems: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Levels the stems and quantises them.

    Args:
        stems: float32 `(samples, 2)` by name.
        rng: source of the level of each stem, which lies within 3 dB of a usual balance.

    Returns:
        The mixture and the stems as int16 `(samples, 2)`. The mixture is the sum of the stems, exactly, and peaks at
        0.92.
    """
    levelled = {}
    for stem in STEMS:
        gain_db = rng.uniform(-_LEVEL_SPREAD_DB, _LEVEL_SPREAD_DB)
        rms = active_rms(stems[stem])
        levelled[stem] = stems[stem] * (_ACTIVE_RMS[stem] * 10.0 ** (gain_db / 20.0) / rms if rms > 0 else 0.0)
    peak = max(np.abs(sum(levelled.values())).max(), *(np.abs(audio).max() for audio in levelled.values()), 1e-9)
    # Two steps below the peak leave room for the rounding of four stems.
    scale = (PEAK * 32768.0 - 2.0) / peak
    quantised = {stem: np.rint(audio * scale).astype(np.int16) for stem, audio in levelled.items()}
    return sum(audio.astype(np.int32) for audio in quantised.values()).astype(np.int16), quantised


def _draw_bands(rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """Draws a tilt and a peak: no two songs have the same tone of an instrument."""
    tilt = rng.uniform(-5.0, 5.0)
    return [
        ("low_shelf", 300.0, -tilt / 2),
        ("high_shelf", 2500.0, tilt),
        ("peak", float(np.exp(rng.uniform(np.log(300.0), np.log(5000.0)))), rng.uniform(-5.0, 5.0)),
    ]

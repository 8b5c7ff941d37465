"""Drums from sine sweeps and noise: each song draws its own kit within the ranges of a family."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import signal

from kseparation.data.builtin.score import DrumHit

SAMPLE_RATE = 44100


@dataclass(frozen=True)
class _KitFamily:
    """Ranges: pitches in Hz, lengths in seconds, corner of the hi-hat in Hz, share of metal in the cymbals."""

    kick_hz: tuple[float, float]
    kick_seconds: tuple[float, float]
    snare_hz: tuple[float, float]
    snare_seconds: tuple[float, float]
    hat_hz: tuple[float, float]
    metal: tuple[float, float]


KITS: dict[str, _KitFamily] = {
    "analogue": _KitFamily((45.0, 55.0), (0.25, 0.6), (170.0, 200.0), (0.12, 0.2), (7000.0, 9000.0), (0.6, 1.0)),
    "dusty": _KitFamily((55.0, 70.0), (0.12, 0.2), (180.0, 230.0), (0.15, 0.25), (4500.0, 6500.0), (0.0, 0.4)),
    "tight": _KitFamily((58.0, 72.0), (0.08, 0.14), (210.0, 260.0), (0.06, 0.1), (8000.0, 10000.0), (0.2, 0.6)),
    "big": _KitFamily((48.0, 60.0), (0.2, 0.35), (150.0, 190.0), (0.25, 0.4), (5500.0, 8000.0), (0.3, 0.7)),
    "wooden": _KitFamily((62.0, 80.0), (0.1, 0.18), (240.0, 300.0), (0.1, 0.16), (6000.0, 7500.0), (0.1, 0.5)),
    "crisp": _KitFamily((50.0, 64.0), (0.14, 0.24), (190.0, 250.0), (0.1, 0.18), (6500.0, 9500.0), (0.4, 0.9)),
}


def play_synth_kit(family: str, hits: Iterable[DrumHit], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Plays strokes on a kit that is drawn for this song, dry.

    Args:
        family: a name of `KITS`.
        hits: the strokes.
        samples: length of the result at 44.1 kHz.
        rng: draws the kit; every stroke has fresh noise from it too.

    Returns:
        float32 `(samples, 2)`.
    """
    ranges = KITS[family]
    values = {name: float(rng.uniform(*getattr(ranges, name))) for name in ranges.__dataclass_fields__}
    strokes: dict[str, list[np.ndarray]] = {}
    places: dict[str, float] = {}
    out = np.zeros((samples, 2), np.float64)
    for hit in hits:
        if hit.piece not in strokes:
            # Three recordings of each piece: equal strokes in a row would sound like a machine gun.
            strokes[hit.piece] = [_stroke(hit.piece, values, rng) for _ in range(3)]
            places[hit.piece] = 0.0 if hit.piece in ("kick", "snare", "clap") else float(rng.uniform(-0.5, 0.5))
        sound = strokes[hit.piece][rng.integers(3)]
        start = round(hit.start_seconds * SAMPLE_RATE)
        length = min(len(sound), samples - start)
        gain = (hit.velocity / 127.0) ** 2
        out[start : start + length, 0] += gain * (1.0 - max(places[hit.piece], 0.0)) * sound[:length]
        out[start : start + length, 1] += gain * (1.0 + min(places[hit.piece], 0.0)) * sound[:length]
    return (0.5 * out).astype(np.float32)


def _stroke(piece: str, values: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    if piece == "kick":
        return _drum(values["kick_hz"], 4.0, values["kick_seconds"], 0.05, rng, 1.1)
    if piece in ("high_tom", "middle_tom", "low_tom"):
        return _drum({"high_tom": 170.0, "middle_tom": 125.0, "low_tom": 90.0}[piece], 1.6, 0.3, 0.1, rng, 0.8)
    if piece in ("high_conga", "low_conga"):
        return _drum({"high_conga": 330.0, "low_conga": 220.0}[piece], 1.2, 0.12, 0.1, rng, 0.5)
    if piece == "snare":
        body = _drum(values["snare_hz"], 1.5, 0.08, 0.0, rng, 0.6)
        return _add(body, _noise(values["snare_seconds"], 1500.0, 9000.0, rng, 0.7))
    if piece == "clap":
        bursts = [
            np.concatenate(
                [np.zeros(int(delay * SAMPLE_RATE)), _noise(0.02 if delay < 0.03 else 0.12, 900.0, 4000.0, rng, 0.6)]
            )
            for delay in (0.0, 0.011, 0.022, 0.033)
        ]
        return _add(_add(bursts[0], bursts[1]), _add(bursts[2], bursts[3]))
    if piece in ("closed_hat", "pedal_hat", "open_hat"):
        return _metal({"closed_hat": 0.035, "pedal_hat": 0.05, "open_hat": 0.25}[piece], values, rng, 0.4)
    if piece in ("crash", "ride"):
        return _metal({"crash": 0.9, "ride": 0.4}[piece], values, rng, 0.4)
    if piece in ("shaker", "tambourine"):
        return _noise({"shaker": 0.04, "tambourine": 0.1}[piece], 5000.0, 14000.0, rng, 0.35)
    frequency = {"side_stick": 900.0, "cowbell": 560.0, "timbale_shell": 1400.0, "claves": 2400.0, "agogo": 950.0}[
        piece
    ]
    return _add(_drum(frequency, 1.0, 0.05, 0.2, rng, 0.4), _drum(1.48 * frequency, 1.0, 0.05, 0.0, rng, 0.3))


def _drum(
    frequency: float, sweep: float, seconds: float, click: float, rng: np.random.Generator, gain: float
) -> np.ndarray:
    """A skin: a sine that falls from `sweep` times its pitch, and the click of the stick."""
    time = np.arange(int(5.0 * seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = frequency * (1.0 + (sweep - 1.0) * np.exp(-time / 0.02))
    sound = np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE) * np.exp(-time / seconds)
    return (
        gain * (sound + click * rng.standard_normal(len(time)) * np.exp(-time / 0.003)) * np.minimum(time / 0.0005, 1.0)
    )


def _noise(seconds: float, low_hz: float, high_hz: float, rng: np.random.Generator, gain: float) -> np.ndarray:
    time = np.arange(int(5.0 * seconds * SAMPLE_RATE)) / SAMPLE_RATE
    band = signal.butter(2, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos")
    return 2.0 * gain * signal.sosfilt(band, rng.standard_normal(len(time))) * np.exp(-time / seconds)


def _metal(seconds: float, values: dict[str, float], rng: np.random.Generator, gain: float) -> np.ndarray:
    """A cymbal: inharmonic square waves and noise above a corner frequency."""
    time = np.arange(int(5.0 * seconds * SAMPLE_RATE)) / SAMPLE_RATE
    squares = sum(
        np.sign(np.sin(2 * np.pi * frequency * rng.uniform(0.98, 1.02) * time))
        for frequency in (2071.0, 3127.0, 4233.0, 5551.0, 6301.0, 8009.0)
    )
    sound = values["metal"] * squares / 2.5 + (1.0 - values["metal"]) * rng.standard_normal(len(time))
    high = signal.butter(3, values["hat_hz"], "highpass", fs=SAMPLE_RATE, output="sos")
    return 1.5 * gain * signal.sosfilt(high, sound) * np.exp(-time / seconds)


def _add(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    out = np.zeros(max(len(first), len(second)))
    out[: len(first)] += first
    out[: len(second)] += second
    return out

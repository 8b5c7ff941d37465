"""Studio effects on `(samples, channels)` arrays at 44.1 kHz."""

import numpy as np
from scipy import signal

SAMPLE_RATE = 44100


def _biquad(kind: str, frequency: float, gain_db: float, q: float) -> np.ndarray:
    """Coefficients of one section after R. Bristow-Johnson, Audio EQ Cookbook."""
    amplitude = 10.0 ** (gain_db / 40.0)
    omega = 2.0 * np.pi * min(frequency, 0.47 * SAMPLE_RATE) / SAMPLE_RATE
    cosine, alpha = np.cos(omega), np.sin(omega) / (2.0 * q)
    if kind == "peak":
        b = [1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude]
        a = [1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude]
    elif kind in ("low_shelf", "high_shelf"):
        sign = 1.0 if kind == "low_shelf" else -1.0
        root = 2.0 * np.sqrt(amplitude) * alpha
        plus, minus = amplitude + 1, amplitude - 1
        b = [
            amplitude * (plus - sign * minus * cosine + root),
            sign * 2 * amplitude * (minus - sign * plus * cosine),
            amplitude * (plus - sign * minus * cosine - root),
        ]
        a = [
            plus + sign * minus * cosine + root,
            -sign * 2 * (minus + sign * plus * cosine),
            plus + sign * minus * cosine - root,
        ]
    else:
        sign = 1.0 if kind == "high_pass" else -1.0
        b = [(1 + sign * cosine) / 2, -sign * (1 + sign * cosine), (1 + sign * cosine) / 2]
        a = [1 + alpha, -2 * cosine, 1 - alpha]
    return np.array(b + a) / a[0]


def equalise(audio: np.ndarray, *bands: tuple[str, float, float]) -> np.ndarray:
    """Filters with a chain of bands `(kind, frequency in Hz, gain in dB)`.

    Kinds are `high_pass`, `low_pass` (their gain is ignored), `low_shelf`, `high_shelf` and `peak`.
    """
    sections = np.stack(
        [_biquad(kind, frequency, gain_db, 0.9 if kind == "peak" else 0.7071) for kind, frequency, gain_db in bands]
    )
    return signal.sosfilt(sections, audio, axis=0).astype(np.float32)


def compress(
    audio: np.ndarray, above_rms_db: float, ratio: float, attack_seconds: float = 0.005, release_seconds: float = 0.12
) -> np.ndarray:
    """Turns loud moments down; the threshold lies `above_rms_db` above the sound's own RMS, whatever its level."""
    block = 64
    blocks = -(-len(audio) // block)
    peaks = np.abs(np.pad(audio, ((0, blocks * block - len(audio)), (0, 0)))).reshape(blocks, -1).max(axis=1)
    level_db = 20.0 * np.log10(peaks + 1e-6)
    threshold_db = 20.0 * np.log10(np.sqrt(np.mean(audio.astype(np.float64) ** 2)) + 1e-6) + above_rms_db
    wanted_db = np.maximum(level_db - threshold_db, 0.0) * (1.0 / ratio - 1.0)
    attack, release = (np.exp(-block / SAMPLE_RATE / seconds) for seconds in (attack_seconds, release_seconds))
    gains, gain = [], 0.0
    for wanted in wanted_db.tolist():
        share = attack if wanted < gain else release
        gain = share * gain + (1.0 - share) * wanted
        gains.append(gain)
    places = np.arange(len(audio)) / block
    curve = 10.0 ** (np.interp(places, np.arange(blocks) + 0.5, gains) / 20.0)
    return audio * curve[:, None].astype(np.float32)


def room(audio: np.ndarray, rng: np.random.Generator, seconds: float, darkness_hz: float = 5000.0) -> np.ndarray:
    """Returns what a room answers, without the direct sound: echoes and a tail that falls by 60 dB in `seconds`."""
    length = int(seconds * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal((length, 2)) * (10.0 ** (-3.0 * time / seconds))[:, None]
    delay = int(rng.uniform(0.004, 0.03) * SAMPLE_RATE)
    tail = np.pad(tail, ((delay, 0), (0, 0)))
    for _ in range(6):
        tail[int(rng.uniform(0.003, 0.06) * SAMPLE_RATE) % len(tail), rng.integers(2)] += rng.uniform(4.0, 12.0)
    tail = equalise(tail, ("low_pass", darkness_hz, 0.0), ("high_pass", 180.0, 0.0))
    tail /= np.sqrt(np.sum(tail**2, axis=0, keepdims=True)) + 1e-9
    return np.stack([signal.oaconvolve(audio[:, side], tail[:, side])[: len(audio)] for side in (0, 1)], axis=1)


def reverberate(
    audio: np.ndarray, rng: np.random.Generator, seconds: float, wet: float, darkness_hz: float = 5000.0
) -> np.ndarray:
    """Adds a room; `wet` is its share, 0 to 1."""
    return np.float32(1.0 - 0.5 * wet) * audio + np.float32(wet) * room(audio, rng, seconds, darkness_hz)


def echo(audio: np.ndarray, delay_seconds: float, feedback: float, wet: float) -> np.ndarray:
    """Adds repeats that change sides; each is `feedback` times as loud as the one before."""
    delay = int(delay_seconds * SAMPLE_RATE)
    out = audio.copy()
    repeat, gain = audio, wet
    for count in range(1, 5):
        if count * delay >= len(audio) or gain < 0.02:
            break
        repeat = repeat[:, ::-1]
        out[count * delay :] += gain * repeat[: len(audio) - count * delay]
        gain *= feedback
    return out


def drive(audio: np.ndarray, amount: float) -> np.ndarray:
    """Saturates like an overdriven amplifier; `amount` 1 colours, 10 distorts. The RMS stays."""
    rms = np.sqrt(np.mean(audio.astype(np.float64) ** 2)) + 1e-9
    bent = np.tanh(audio * (amount / (4.0 * rms)) + 0.1) - np.tanh(0.1)
    return (bent * (rms / (np.sqrt(np.mean(bent.astype(np.float64) ** 2)) + 1e-9))).astype(np.float32)


def chorus(audio: np.ndarray, rate_hz: float, depth_seconds: float, wet: float) -> np.ndarray:
    """Adds a copy whose delay sways, oppositely left and right: widens and thickens."""
    time = np.arange(len(audio))
    out = audio.copy()
    for channel, phase in enumerate((0.0, np.pi)):
        delay = SAMPLE_RATE * (0.012 + depth_seconds * np.sin(2 * np.pi * rate_hz * time / SAMPLE_RATE + phase))
        out[:, channel] += wet * np.interp(time - delay, time, audio[:, channel], left=0.0).astype(np.float32)
    return out


def pan(audio: np.ndarray, place: float) -> np.ndarray:
    """Moves a stereo sound, -1 left to 1 right, with constant power; 0 leaves it as it is."""
    angle = (place + 1.0) * np.pi / 4.0
    return audio * (np.sqrt(2.0) * np.array([np.cos(angle), np.sin(angle)], np.float32))


def widen(audio: np.ndarray, width: float) -> np.ndarray:
    """Scales the difference between left and right: 0 is mono, 1 leaves it as it is."""
    middle = audio.mean(axis=1, keepdims=True)
    return middle + np.float32(width) * (audio - middle)


def active_rms(audio: np.ndarray) -> float:
    """Returns the RMS over the moments in which there is sound: 50 ms windows within 30 dB of the loudest."""
    block = 2205
    if len(audio) < block:
        return float(np.sqrt(np.mean(audio.astype(np.float64) ** 2)))
    energy = np.mean(
        audio[: len(audio) // block * block].astype(np.float64).reshape(-1, block * audio.shape[1]) ** 2, axis=1
    )
    return float(np.sqrt(energy[energy >= 1e-3 * energy.max()].mean()))

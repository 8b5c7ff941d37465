"""A small synthesiser in NumPy: wavetable, frequency modulation, plucked strings and organ.

It widens the choice of sounds beside the soundfont, and is the only renderer where the extra `music` is not installed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from kseparation.data.builtin.score import Note

SAMPLE_RATE = 44100
_TABLE = 2048


@dataclass(frozen=True)
class _Character:
    """What one song draws for a patch; each family reads what it needs."""

    brightness: float
    detune_cents: float
    attack_seconds: float
    release_seconds: float
    decay_seconds: float
    modulation_ratio: float
    modulation_index: float


_Tone = Callable[[float, int, _Character, np.random.Generator], np.ndarray]


def play_patch(family: str, notes: Iterable[Note], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Plays notes with one patch, dry.

    Args:
        family: a name of `FAMILIES`.
        notes: what to play.
        samples: length of the result at 44.1 kHz.
        rng: draws the character of the patch: brightness, detuning, envelope, modulation.

    Returns:
        float32 `(samples, 2)`, both channels equal.
    """
    tone, attack, decay = FAMILIES[family]
    character = _Character(
        brightness=float(rng.uniform(0.25, 1.0)),
        detune_cents=float(rng.uniform(4.0, 18.0)),
        attack_seconds=float(attack * rng.uniform(0.6, 1.8)),
        release_seconds=float(rng.uniform(0.03, 0.15) + attack),
        decay_seconds=float(decay * rng.uniform(0.6, 1.6)),
        modulation_ratio=float(rng.choice([0.5, 1.0, 2.0, 3.0, 3.5, 7.0])),
        modulation_index=float(rng.uniform(0.8, 4.0)),
    )
    notes = tuple(notes)
    longest: dict[int, float] = {}
    for note in notes:
        longest[note.pitch] = max(longest.get(note.pitch, 0.0), note.duration_seconds)
    # Each pitch is computed once, as long as its longest note.
    tones = {
        pitch: tone(
            440.0 * 2.0 ** ((pitch - 69) / 12),
            round((seconds + character.release_seconds) * SAMPLE_RATE) + 1,
            character,
            rng,
        )
        for pitch, seconds in longest.items()
    }
    out = np.zeros(samples, np.float64)
    for note in notes:
        start = round(note.start_seconds * SAMPLE_RATE)
        length = min(round((note.duration_seconds + character.release_seconds) * SAMPLE_RATE), samples - start)
        if length > 0:
            sound = tones[note.pitch][:length] * _envelope(length, note.duration_seconds, character)
            out[start : start + length] += (note.velocity / 127.0) ** 1.6 * sound
    return np.repeat(0.2 * out[:, None], 2, axis=1).astype(np.float32)


def _envelope(length: int, held_seconds: float, character: _Character) -> np.ndarray:
    time = np.arange(length) / SAMPLE_RATE
    rise = np.minimum(time / character.attack_seconds, 1.0)
    fall = np.clip(1.0 - (time - held_seconds) / character.release_seconds, 0.0, 1.0)
    return rise * fall * (0.15 + 0.85 * np.exp(-time / character.decay_seconds))


def _lookup(partials: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Plays one cycle, given by the amplitudes of its partials, along a phase in cycles."""
    spectrum = np.zeros(_TABLE // 2 + 1, complex)
    spectrum[1 : len(partials) + 1] = -0.5j * _TABLE * partials
    table = np.fft.irfft(spectrum, _TABLE)
    return table[(phase * _TABLE).astype(np.int64) % _TABLE]


def _waveform(odd_only: bool, voices: int, sweep: bool) -> _Tone:
    def tone(frequency: float, length: int, character: _Character, rng: np.random.Generator) -> np.ndarray:
        count = int(np.clip(15000.0 / frequency, 1, 400))
        number = np.arange(1, count + 1)
        bright = np.where(number % 2 == 1, 1.0, 0.0 if odd_only else 1.0) / number
        corner = max(2.0, (200.0 + 5000.0 * character.brightness) / frequency)
        bright = bright / np.sqrt(1.0 + (number / (corner * 2.0)) ** 4)
        dark = bright / np.sqrt(1.0 + (number / (0.3 * corner)) ** 4)
        time = np.arange(length) / SAMPLE_RATE
        open_share = np.exp(-time / (0.5 * character.decay_seconds)) if sweep else np.full(length, character.brightness)
        out = np.zeros(length)
        for voice in range(voices):
            cents = character.detune_cents * (voice - (voices - 1) / 2)
            phase = rng.random() + frequency * 2.0 ** (cents / 1200) * time
            out += open_share * _lookup(bright, phase) + (1.0 - open_share) * _lookup(dark, phase)
        return out / np.sqrt(voices)

    return tone


def _modulated(frequency: float, length: int, character: _Character, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(length) / SAMPLE_RATE
    index = character.modulation_index * np.exp(-time / (0.4 * character.decay_seconds))
    inner = 2 * np.pi * frequency * character.modulation_ratio * time
    return np.sin(2 * np.pi * frequency * time + index * np.sin(inner + rng.uniform(0, 0.1)))


def _plucked(frequency: float, length: int, character: _Character, rng: np.random.Generator) -> np.ndarray:
    """Partials of a string that is plucked at one place, each decaying at its own rate."""
    time = np.arange(length) / SAMPLE_RATE
    place = rng.uniform(0.1, 0.35)
    out = np.zeros(length)
    for number in range(1, int(np.clip(9000.0 / frequency, 1, 22)) + 1):
        stretched = number * frequency * np.sqrt(1.0 + 2e-4 * number**2)
        amplitude = np.sin(np.pi * number * place) / number ** (1.6 - 0.8 * character.brightness)
        out += (
            amplitude
            * np.exp(-time * (0.6 + 0.35 * number) / character.decay_seconds)
            * np.sin(2 * np.pi * stretched * time)
        )
    return 1.5 * out


def _bell(frequency: float, length: int, character: _Character, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(length) / SAMPLE_RATE
    out = np.zeros(length)
    for ratio, amplitude in (
        (1.0, 1.0),
        (2.76, 0.5),
        (5.4, 0.3 * character.brightness),
        (8.93, 0.15 * character.brightness),
    ):
        if ratio * frequency < 18000.0:
            out += (
                amplitude
                * np.exp(-time * ratio / (2.0 * character.decay_seconds))
                * np.sin(2 * np.pi * ratio * frequency * time)
            )
    return out


def _organ(frequency: float, length: int, character: _Character, rng: np.random.Generator) -> np.ndarray:
    drawbars = np.array(
        [1.0, 0.8, 0.6 * character.brightness, 0.5, 0.0, 0.3 * character.brightness, 0.0, 0.25 * character.brightness]
    )
    drawbars = drawbars[: int(np.clip(16000.0 / frequency, 1, 8))]
    time = np.arange(length) / SAMPLE_RATE
    sway = 1.0 + 0.1 * np.sin(2 * np.pi * (4.0 + 2.0 * character.brightness) * time)
    return 0.8 * sway * _lookup(drawbars, frequency * time + rng.random())


# Family -> tone, attack and decay in seconds.
FAMILIES: dict[str, tuple[_Tone, float, float]] = {
    "saw bass": (_waveform(False, 2, True), 0.004, 0.5),
    "sub bass": (_waveform(True, 1, True), 0.006, 0.9),
    "square bass": (_waveform(True, 2, True), 0.004, 0.6),
    "plucked bass": (_plucked, 0.002, 1.8),
    "fm bass": (_modulated, 0.003, 0.6),
    "saw pad": (_waveform(False, 5, False), 0.15, 8.0),
    "square pad": (_waveform(True, 4, False), 0.12, 8.0),
    "saw lead": (_waveform(False, 2, False), 0.01, 3.0),
    "square lead": (_waveform(True, 2, False), 0.01, 3.0),
    "fm lead": (_modulated, 0.015, 2.5),
    "fm piano": (_modulated, 0.002, 1.2),
    "plucked strings": (_plucked, 0.002, 1.2),
    "bell": (_bell, 0.002, 1.0),
    "organ": (_organ, 0.01, 20.0),
}

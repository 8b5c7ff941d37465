"""A singer in NumPy: a glottal wave through the formants of vowels, with bursts of noise for consonants.

Plainer than the speech synthesiser's voice; it sings where the extra `music` is not installed.
"""

from dataclasses import dataclass

import numpy as np
from scipy import signal

from kseparation.data.builtin.score import SungNote
from kseparation.data.builtin.singing import SingingStyle, draw_style, phrases_of, pitch_curve

SAMPLE_RATE = 44100
_FRAME_SECONDS = 0.005

# First four formants of vowels, in Hz, for a male adult.
_VOWELS = {
    "a": (750.0, 1150.0, 2500.0, 3400.0),
    "e": (480.0, 1850.0, 2500.0, 3400.0),
    "i": (290.0, 2200.0, 2950.0, 3500.0),
    "o": (450.0, 800.0, 2450.0, 3300.0),
    "u": (320.0, 700.0, 2300.0, 3250.0),
    "ae": (650.0, 1700.0, 2450.0, 3400.0),
    "oe": (460.0, 1500.0, 2250.0, 3300.0),
    "y": (290.0, 1750.0, 2200.0, 3300.0),
}
_BANDWIDTHS = (80.0, 100.0, 130.0, 200.0)
_GAINS = (1.0, 0.6, 0.35, 0.2)
# Split -> ranges of body size (factor on the formants); they do not overlap.
_SIZES = {"train": (0.95, 1.08), "validation": (1.09, 1.13), "test": (1.14, 1.22)}


@dataclass(frozen=True)
class FormantSinger:
    """Body size (factor on the formants), vowel and consonant colour (Hz) of each syllable, manner and range."""

    size: float
    vowels: tuple[str, ...]
    consonants_hz: tuple[float, ...]
    style: SingingStyle
    centre: float

    @property
    def description(self) -> dict:
        """What `song.json` shows."""
        return {
            "language": "formants",
            "variant": f"size {self.size:.3f}",
            "formant_shift": round(self.size, 3),
            "centre": round(self.centre, 1),
        }

    def sing(
        self, notes: tuple[SungNote, ...], samples: int, detune_semitones: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Returns float32 `(samples,)` at 44.1 kHz."""
        out = np.zeros(samples, np.float64)
        for phrase in phrases_of(notes):
            first = round(phrase[0].start_seconds * SAMPLE_RATE)
            length = min(round(phrase[-1].end_seconds * SAMPLE_RATE) + SAMPLE_RATE // 20, samples) - first
            if length > 0:
                out[first : first + length] += self._sing_phrase(phrase, length, detune_semitones, rng)
        return (0.1 * out).astype(np.float32)

    def _sing_phrase(
        self, phrase: list[SungNote], length: int, detune_semitones: float, rng: np.random.Generator
    ) -> np.ndarray:
        frames = length // int(_FRAME_SECONDS * SAMPLE_RATE) + 2
        begin = phrase[0].start_seconds
        starts = [min(round((note.start_seconds - begin) / _FRAME_SECONDS), frames - 1) for note in phrase]
        pitch = pitch_curve(phrase, starts, frames, self.style, rng) + detune_semitones
        curve = np.interp(np.arange(length) / (_FRAME_SECONDS * SAMPLE_RATE), np.arange(frames), pitch)
        source = _glottal_wave(440.0 * 2.0 ** ((curve - 69.0) / 12.0), self.style.breathiness, rng)
        out = np.zeros(length)
        for note in phrase:
            start = round((note.start_seconds - begin) * SAMPLE_RATE)
            # The neighbours overlap by a fade: vowels glide into each other.
            end = min(round((note.end_seconds - begin) * SAMPLE_RATE) + SAMPLE_RATE // 50, length)
            if end - start > SAMPLE_RATE // 25:
                out[start:end] += (note.velocity / 127.0) * self._vowel(source[start:end], note.syllable)
                if not note.slurred:
                    self._consonant(out, start, note.syllable, rng)
        return out

    def _vowel(self, source: np.ndarray, syllable: int) -> np.ndarray:
        out = np.zeros(len(source))
        for formant, width, gain in zip(
            _VOWELS[self.vowels[syllable % len(self.vowels)]], _BANDWIDTHS, _GAINS, strict=True
        ):
            radius = np.exp(-np.pi * width / SAMPLE_RATE)
            denominator = [1.0, -2.0 * radius * np.cos(2 * np.pi * formant * self.size / SAMPLE_RATE), radius**2]
            out += gain * signal.lfilter([1.0 - radius, 0.0, radius - 1.0], denominator, source)
        fade = np.minimum(np.arange(len(out)), np.arange(len(out))[::-1]) / (SAMPLE_RATE / 50)
        return 6.0 * out * np.minimum(fade, 1.0)

    def _consonant(self, out: np.ndarray, start: int, syllable: int, rng: np.random.Generator) -> None:
        centre = self.consonants_hz[syllable % len(self.consonants_hz)]
        length = min(int(rng.uniform(0.03, 0.08) * SAMPLE_RATE), len(out) - start)
        band = signal.butter(2, [0.6 * centre, min(1.6 * centre, 20000.0)], "bandpass", fs=SAMPLE_RATE, output="sos")
        out[start : start + length] += 0.3 * signal.sosfilt(band, rng.standard_normal(length)) * np.hanning(length)


def _glottal_wave(frequency: np.ndarray, breathiness: float, rng: np.random.Generator) -> np.ndarray:
    """A saw, its step rounded (PolyBLEP) against aliasing, softened towards a glottal pulse, with breath."""
    step = frequency / SAMPLE_RATE
    phase = np.cumsum(step) % 1.0
    saw = 2.0 * phase - 1.0
    before, after = phase > 1.0 - step, phase < step
    saw[after] -= (2.0 * phase / step - (phase / step) ** 2 - 1.0)[after]
    saw[before] -= (((phase - 1.0) / step) ** 2 + 2.0 * (phase - 1.0) / step + 1.0)[before]
    return signal.lfilter([0.12], [1.0, -0.88], saw) + (0.01 + 0.1 * breathiness) * rng.standard_normal(len(saw))


def draw_formant_singer(rng: np.random.Generator, split: str) -> FormantSinger:
    """Draws a singer; body sizes of the three splits do not overlap."""
    size = float(rng.uniform(*_SIZES[split]))
    vowels = tuple(str(vowel) for vowel in rng.choice(list(_VOWELS), 16))
    consonants = tuple(float(hz) for hz in np.exp(rng.uniform(np.log(1500.0), np.log(9000.0), 16)))
    return FormantSinger(
        size, vowels, consonants, draw_style(rng), float(50.0 + 75.0 * (size - 0.95) + rng.uniform(-2.0, 6.0))
    )

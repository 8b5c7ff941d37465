"""Singers: syllables spoken by espeak-ng and analysed by WORLD, ready to be sung.

Languages and voice variants of validation and test songs are not used in training.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 44100
FRAME_SECONDS = 0.005
FFT_SIZE = 2048
_SPOKEN_RATE = 22050
_SPOKEN_FFT = 1024  # half of FFT_SIZE at half the rate: the bins of both envelopes have the same width

_LANGUAGES: dict[str, tuple[str, ...]] = {
    "train": ("en-us", "it", "es", "pt-br", "de", "nl", "sv", "pl", "cs", "ro", "tr", "sw", "id", "hr", "ca", "lv", "et", "sq", "af", "ms"),
    "validation": ("fr", "fi", "sk"),
    "test": ("en-gb", "pt", "nb", "hu", "eo"),
}
_VARIANTS: dict[str, tuple[str, ...]] = {
    "train": ("f1", "f3", "f5", "m1", "m3", "m5", "m7", "Alex", "Andrea", "Andy", "Annie", "Diogo", "Gene", "Henrique", "Jacky", "Lee", "Marco", "Mario", "Michael", "adam",
              "anika", "antonio", "aunty", "belinda", "david", "ed", "edward", "grandma", "gustave", "ian", "iven", "john", "klatt2", "linda", "marcelo",
              "max", "michel", "norbert", "pablo", "paul", "sandro", "shelby", "steph"),
    "validation": ("f4", "m4", "Denis", "benjamin", "Alicia", "victor"),
    "test": ("f2", "m2", "m6", "m8", "Hugo", "Mike", "boris", "miguel", "quincy", "rob", "robert", "travis", "zac", "kaukovalta"),
}
_CONSONANTS = ("l", "m", "n", "d", "t", "s", "r", "v", "p", "k", "b", "g", "f", "z", "tr", "st", "bl", "")
_VOWELS = ("a", "a", "o", "e", "i", "u", "ai", "ei", "ou")
_CODAS = ("", "", "", "n", "m", "s", "t", "l")


@dataclass(frozen=True)
class Voice:
    """One singer: language and variant of espeak-ng, its `speaking_pitch` and `shift` of the formants."""

    language: str
    variant: str
    speaking_pitch: int
    formant_shift: float

    @property
    def label(self) -> str:
        """The name that `song.json` shows."""
        return f"{self.language}+{self.variant}"


@dataclass(frozen=True)
class Syllable:
    """WORLD frames of one syllable: `log_envelope` and `aperiodicity` are `(frames, bins)`.

    Frames before `nucleus[0]` are its consonant, frames from `nucleus[1]` its end. `voiced` is `(frames,)`.
    """

    log_envelope: np.ndarray
    aperiodicity: np.ndarray
    voiced: np.ndarray
    nucleus: tuple[int, int]


@dataclass(frozen=True)
class Singer:
    """The syllables of a voice and the fundamental frequency at which it speaks, in Hz."""

    syllables: tuple[Syllable, ...]
    spoken_hz: float


def draw_voice(rng: np.random.Generator, split: str) -> Voice:
    """Draws a singer that belongs to the split."""
    language = str(rng.choice(_LANGUAGES[split]))
    variant = str(rng.choice(_VARIANTS[split]))
    return Voice(language, variant, int(rng.integers(35, 70)), float(rng.uniform(0.88, 1.16)))


def draw_lyrics(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Draws syllables such as `la`, `tron`, `mei`."""
    return tuple(str(rng.choice(_CONSONANTS)) + str(rng.choice(_VOWELS)) + str(rng.choice(_CODAS)) for _ in range(count))


def prepare_singer(voice: Voice, lyrics: tuple[str, ...]) -> Singer:
    """Lets a voice speak the syllables and analyses them; syllables without a clear vowel are left out."""
    analysed = [_analyse(speech) for speech in _speak(voice, lyrics)]
    usable = [(syllable, hz) for syllable, hz in analysed if syllable is not None]
    syllables = tuple(_shift_formants(syllable, voice.formant_shift) for syllable, _ in usable)
    return Singer(syllables, float(np.median([hz for _, hz in usable])))


def _speak(voice: Voice, lyrics: tuple[str, ...]) -> list[np.ndarray]:
    """Returns one float64 `(samples,)` at 22.05 kHz for each text."""
    import espeakng_loader

    request = {
        "library": str(espeakng_loader.get_library_path()), "data": str(Path(espeakng_loader.get_data_path()).parent),
        "voice": voice.label, "pitch": voice.speaking_pitch, "rate": 100, "texts": lyrics,
    }
    program = Path(__file__).with_name("speech_process.py")
    answer = subprocess.run([sys.executable, "-I", str(program)], input=json.dumps(request).encode(), stdout=subprocess.PIPE, check=True).stdout
    sounds, place = [], 0
    for _ in lyrics:
        samples = int.from_bytes(answer[place : place + 4], "little")
        sounds.append(np.frombuffer(answer, "<i2", samples, place + 4).astype(np.float64) / 32768.0)
        place += 4 + 2 * samples
    return sounds


def _analyse(speech: np.ndarray) -> tuple[Syllable | None, float]:
    """Returns the syllable and its median fundamental frequency; None where no vowel of at least 60 ms is found."""
    import pyworld

    if len(speech) < _SPOKEN_RATE // 10:
        return None, 0.0
    # A whisper of noise keeps WORLD away from the logarithm of digital silence; the fixed seed keeps it repeatable.
    speech = speech + 1e-5 * np.random.default_rng(0).standard_normal(len(speech))
    coarse, times = pyworld.dio(speech, _SPOKEN_RATE, f0_floor=60.0, f0_ceil=500.0, frame_period=1000 * FRAME_SECONDS)
    f0 = pyworld.stonemask(speech, coarse, times, _SPOKEN_RATE)
    envelope = pyworld.cheaptrick(speech, f0, times, _SPOKEN_RATE, fft_size=_SPOKEN_FFT)
    aperiodicity = pyworld.d4c(speech, f0, times, _SPOKEN_RATE, fft_size=_SPOKEN_FFT)
    energy = np.sqrt(envelope.mean(axis=1))
    heard = np.flatnonzero(energy > 0.02 * energy.max())
    voiced = f0 > 0
    loud = np.flatnonzero(voiced & (energy > 0.5 * energy.max()))
    if len(loud) < 12:
        return None, 0.0
    first, last = heard[0], heard[-1] + 1
    log_envelope, aperiodicity = _extend_band(np.log(envelope[first:last] / np.mean(envelope[loud]) + 1e-12), aperiodicity[first:last])
    # The vowel's own edges carry the transitions of consonants: what is stretched lies inside.
    nucleus = (int(loud[0] - first + 3), int(loud[-1] - first - 2))
    return Syllable(log_envelope.astype(np.float32), aperiodicity.astype(np.float32), voiced[first:last], nucleus), float(np.median(f0[loud]))


def _extend_band(log_envelope: np.ndarray, aperiodicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continues speech of 11 kHz bandwidth up to 22 kHz: a falling, mostly breathy band, as real voices have."""
    bins = FFT_SIZE // 2 + 1
    edge = int(0.8 * log_envelope.shape[1])
    level = log_envelope[:, edge - 40 : edge].mean(axis=1, keepdims=True)
    fall = 3.0 * np.log(np.arange(edge, bins) / edge)
    smooth = np.concatenate([log_envelope[:, :edge], level - fall], axis=1)
    airy = np.maximum(aperiodicity[:, edge - 1 : edge], 0.75)
    return smooth, np.concatenate([aperiodicity[:, :edge], np.repeat(airy, bins - edge, axis=1)], axis=1)


def _shift_formants(syllable: Syllable, factor: float) -> Syllable:
    """Stretches the envelope along frequency: above 1 a smaller, below 1 a larger body."""
    places = np.minimum(np.arange(syllable.log_envelope.shape[1]) / factor, syllable.log_envelope.shape[1] - 1.001)
    low = places.astype(int)
    part = (places - low).astype(np.float32)
    envelope = (1 - part) * syllable.log_envelope[:, low] + part * syllable.log_envelope[:, low + 1]
    return Syllable(envelope, syllable.aperiodicity, syllable.voiced, syllable.nucleus)

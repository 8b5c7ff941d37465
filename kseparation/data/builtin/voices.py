"""Singers: syllables spoken by espeak-ng and analysed by WORLD, ready to be sung.

Languages and voice variants of validation and test songs are not used in training.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

SAMPLE_RATE = 44100
FRAME_SECONDS = 0.005
FFT_SIZE = 2048
_SPOKEN_RATE = 22050
_GAP_BINS, _GAP_SHARE = 151, 0.03  # 3.2 kHz, -15 dB
_SPOKEN_FFT = 1024  # half of FFT_SIZE at half the rate: the bins of both envelopes have the same width

LANGUAGES: dict[str, tuple[str, ...]] = {
    "train": (
        "en-us",
        "it",
        "es",
        "pt-br",
        "de",
        "nl",
        "sv",
        "pl",
        "cs",
        "ro",
        "tr",
        "sw",
        "id",
        "hr",
        "ca",
        "lv",
        "et",
        "sq",
        "af",
        "ms",
    ),
    "validation": ("fr", "fi", "sk"),
    "test": ("en-gb", "pt", "nb", "hu", "eo"),
}
# High and low voices take turns; within each, the variants do.
VARIANTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (
        ("f1", "f3", "f5", "Andrea", "anika", "belinda", "grandma", "linda", "shelby", "steph"),
        (
            "m1",
            "m3",
            "m5",
            "m7",
            "Alex",
            "Andy",
            "Diogo",
            "Gene",
            "Henrique",
            "Jacky",
            "Lee",
            "Marco",
            "Mario",
            "Michael",
            "adam",
            "antonio",
            "david",
            "ed",
            "edward",
            "gustave",
            "ian",
            "iven",
            "john",
            "marcelo",
            "max",
            "michel",
            "norbert",
            "pablo",
            "paul",
            "sandro",
        ),
    ),
    "validation": (("f4", "Alicia"), ("m4", "Denis", "benjamin", "victor")),
    "test": (
        ("f2", "Annie", "aunty", "zac"),
        ("m2", "m6", "m8", "Hugo", "Mike", "boris", "miguel", "quincy", "rob", "robert", "kaukovalta"),
    ),
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


def draw_lyrics(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Draws syllables such as `la`, `tron`, `mei`."""
    return tuple(
        str(rng.choice(_CONSONANTS)) + str(rng.choice(_VOWELS)) + str(rng.choice(_CODAS)) for _ in range(count)
    )


def prepare_singer(voice: Voice, lyrics: tuple[str, ...]) -> Singer | None:
    """Lets a voice speak the syllables and analyses those with a clear vowel; None where there is none."""
    analysed = [_analyse(speech) for speech in _speak(voice, lyrics)]
    usable = [(syllable, hz) for syllable, hz in analysed if syllable is not None]
    if not usable:
        return None
    syllables = tuple(_shift_formants(syllable, voice.formant_shift) for syllable, _ in usable)
    return Singer(syllables, float(np.median([hz for _, hz in usable])))


def _speak(voice: Voice, lyrics: tuple[str, ...]) -> list[np.ndarray]:
    """Returns one float64 `(samples,)` at 22.05 kHz for each text."""
    import espeakng_loader

    request = {
        "library": str(espeakng_loader.get_library_path()),
        "data": str(Path(espeakng_loader.get_data_path()).parent),
        "voice": voice.label,
        "pitch": voice.speaking_pitch,
        "rate": 100,
        "texts": lyrics,
    }
    program = Path(__file__).with_name("speech_process.py")
    answer = subprocess.run(
        [sys.executable, "-I", str(program)], input=json.dumps(request).encode(), stdout=subprocess.PIPE, check=True
    ).stdout
    sounds, place = [], 0
    for _ in lyrics:
        samples = int.from_bytes(answer[place : place + 4], "little")
        sounds.append(np.frombuffer(answer, "<i2", samples, place + 4).astype(np.float64) / 32768.0)
        place += 4 + 2 * samples
    return sounds


def _analyse(speech: np.ndarray) -> tuple[Syllable | None, float]:
    """Returns the syllable and its median fundamental frequency; None where no vowel of at least 60 ms is found."""
    import pyworld

    # Analysis costs by the second: the silence around the word is cut first.
    heard = np.flatnonzero(np.abs(speech) > 0.005)
    if len(heard) < _SPOKEN_RATE // 10:
        return None, 0.0
    margin = _SPOKEN_RATE // 50
    speech = speech[max(0, heard[0] - margin) : heard[-1] + margin]
    # A whisper of noise keeps WORLD away from the logarithm of digital silence; the fixed seed keeps it repeatable.
    speech = speech + 1e-5 * np.random.default_rng(0).standard_normal(len(speech))
    coarse, times = pyworld.dio(speech, _SPOKEN_RATE, f0_floor=60.0, f0_ceil=500.0, frame_period=1000 * FRAME_SECONDS)
    f0 = pyworld.stonemask(speech, coarse, times, _SPOKEN_RATE)
    envelope = pyworld.cheaptrick(speech, f0, times, _SPOKEN_RATE, fft_size=_SPOKEN_FFT)
    # Aperiodicity changes slowly and is the costliest to find: every fourth frame is enough.
    sparse = pyworld.d4c(
        speech, np.ascontiguousarray(f0[::4]), np.ascontiguousarray(times[::4]), _SPOKEN_RATE, fft_size=_SPOKEN_FFT
    )
    aperiodicity = interpolate_frames(sparse, np.arange(len(f0)) / 4.0)
    energy = np.sqrt(envelope.mean(axis=1))
    heard = np.flatnonzero(energy > 0.02 * energy.max())
    voiced = f0 > 0
    loud = _longest_run(voiced & (energy > 0.5 * energy.max()))
    if len(loud) < 12:
        return None, 0.0
    first, last = heard[0], heard[-1] + 1
    log_envelope, aperiodicity = _extend_band(
        np.log(envelope[first:last] / np.mean(envelope[loud]) + 1e-12), aperiodicity[first:last]
    )
    # The vowel's own edges carry the transitions of consonants: what is stretched lies inside.
    nucleus = (int(loud[0] - first + 3), int(loud[-1] - first - 2))
    return Syllable(
        log_envelope.astype(np.float32), aperiodicity.astype(np.float32), voiced[first:last], nucleus
    ), float(np.median(f0[loud]))


def _longest_run(condition: np.ndarray) -> np.ndarray:
    """Returns the places of the longest stretch in which a condition holds."""
    places = np.flatnonzero(condition)
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return max(runs, key=len)


def _extend_band(log_envelope: np.ndarray, aperiodicity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continues speech of 11 kHz bandwidth up to 22 kHz: a falling, mostly breathy band, as real voices have."""
    bins = FFT_SIZE // 2 + 1
    edge = int(0.8 * log_envelope.shape[1])
    level = log_envelope[:, edge - 40 : edge].mean(axis=1, keepdims=True)
    fall = 3.0 * np.log(np.arange(edge, bins) / edge)
    extended = np.concatenate([log_envelope[:, :edge], level - fall], axis=1)
    # The speech synthesiser leaves empty bands between its formants; a throat does not.
    around = uniform_filter1d(np.exp(extended), _GAP_BINS, axis=1, mode="nearest")
    extended = np.logaddexp(extended, np.log(_GAP_SHARE * around))
    airy = np.maximum(aperiodicity[:, edge - 1 : edge], 0.75)
    return extended, np.concatenate([aperiodicity[:, :edge], np.repeat(airy, bins - edge, axis=1)], axis=1)


def interpolate_frames(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns rows between the rows of `(frames, bins)`; places outside take the nearest row."""
    places = np.clip(places, 0.0, len(frames) - 1.0)
    low = places.astype(int)
    part = (places - low)[:, None]
    return (1.0 - part) * frames[low] + part * frames[np.minimum(low + 1, len(frames) - 1)]


def _shift_formants(syllable: Syllable, factor: float) -> Syllable:
    """Stretches the envelope along frequency: above 1 a smaller, below 1 a larger body."""
    places = np.minimum(np.arange(syllable.log_envelope.shape[1]) / factor, syllable.log_envelope.shape[1] - 1.001)
    low = places.astype(int)
    part = (places - low).astype(np.float32)
    envelope = (1 - part) * syllable.log_envelope[:, low] + part * syllable.log_envelope[:, low + 1]
    return Syllable(envelope, syllable.aperiodicity, syllable.voiced, syllable.nucleus)

"""Sings a melody with analysed syllables: WORLD synthesis with scoops, vibrato and drift."""

from dataclasses import dataclass

import numpy as np

from kseparation.data.builtin.score import SungNote
from kseparation.data.builtin.voices import FFT_SIZE, FRAME_SECONDS, SAMPLE_RATE, Singer, Syllable, interpolate_frames

_PHRASE_GAP_SECONDS = 0.35
_SCOOP_SECONDS = 0.045
_MARGIN_FRAMES = 40
_CODA_FRAMES = 14
_CONSONANT_FRAMES = 30


@dataclass(frozen=True)
class SingingStyle:
    """How a singer sings.

    Args:
        scoop_semitones: how far below the note it begins.
        vibrato_hz: rate of the vibrato.
        vibrato_semitones: its depth.
        drift_semitones: standard deviation of the slow wandering of the pitch.
        breathiness: 0 to 1, moves the voice towards noise.
        tilt_db: brightness, gain at 8 kHz against 250 Hz.
        detune_semitones: constant offset, for a second take.
    """

    scoop_semitones: float = 0.8
    vibrato_hz: float = 5.5
    vibrato_semitones: float = 0.3
    drift_semitones: float = 0.06
    breathiness: float = 0.0
    tilt_db: float = 0.0
    detune_semitones: float = 0.0


def draw_style(rng: np.random.Generator) -> SingingStyle:
    """Draws the manner of one singer."""
    return SingingStyle(
        float(rng.uniform(0.2, 1.4)),
        float(rng.uniform(4.8, 6.3)),
        float(rng.uniform(0.1, 0.45)),
        float(rng.uniform(0.03, 0.09)),
        float(rng.choice([0.0, 0.1, 0.3], p=[0.5, 0.3, 0.2])),
        float(rng.uniform(-3.0, 6.0)),
    )


def sing(
    notes: tuple[SungNote, ...], singer: Singer, style: SingingStyle, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns the sung melody, dry.

    Args:
        notes: the melody, in order.
        singer: the voice.
        style: its manner.
        samples: length of the result at 44.1 kHz.
        rng: source of the pitch drift.

    Returns:
        float32 `(samples,)`.
    """
    import pyworld

    out = np.zeros(samples, np.float64)
    for phrase in phrases_of(notes):
        first = round(phrase[0].start_seconds / FRAME_SECONDS) - _MARGIN_FRAMES
        frames = round(phrase[-1].end_seconds / FRAME_SECONDS) + _MARGIN_FRAMES - first
        f0, log_envelope, aperiodicity = _phrase_frames(phrase, singer, style, first, frames, rng)
        audio = pyworld.synthesize(f0, np.exp(log_envelope), aperiodicity, SAMPLE_RATE, 1000 * FRAME_SECONDS)
        start = round(first * FRAME_SECONDS * SAMPLE_RATE)
        begin, end = max(0, start), min(samples, start + len(audio))
        out[begin:end] += audio[begin - start : end - start]
    return out.astype(np.float32)


def phrases_of(notes: tuple[SungNote, ...]) -> list[list[SungNote]]:
    """Cuts a melody where it pauses, so that silence is not synthesised."""
    phrases: list[list[SungNote]] = []
    for note in notes:
        if not phrases or note.start_seconds - phrases[-1][-1].end_seconds > _PHRASE_GAP_SECONDS:
            phrases.append([])
        phrases[-1].append(note)
    return phrases


def _phrase_frames(
    phrase: list[SungNote], singer: Singer, style: SingingStyle, first: int, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bins = FFT_SIZE // 2 + 1
    log_envelope = np.full((frames, bins), -27.0, np.float64)
    aperiodicity = np.full((frames, bins), 0.999, np.float64)
    voiced = np.zeros(frames, bool)
    starts = [round(note.start_seconds / FRAME_SECONDS) - first for note in phrase]
    ends = [round(note.end_seconds / FRAME_SECONDS) - first for note in phrase]
    previous: Syllable | None = None
    for place, note in enumerate(phrase):
        slurred = note.slurred and previous is not None and starts[place] - ends[place - 1] < 10
        syllable = previous if slurred else singer.syllables[note.syllable % len(singer.syllables)]
        joined = place + 1 < len(phrase) and phrase[place + 1].slurred
        onset, source = _source_frames(syllable, ends[place] - starts[place], slurred, joined)
        begin = max(starts[place] - onset, 0)
        source = source[: frames - begin]
        where = slice(begin, begin + len(source))
        gain = 0.035 * (note.velocity - 96)
        log_envelope[where] = interpolate_frames(syllable.log_envelope, source) + gain
        aperiodicity[where] = interpolate_frames(syllable.aperiodicity, source)
        voiced[where] = syllable.voiced[np.rint(source).astype(int)]
        previous = syllable
    tilt = (
        style.tilt_db
        * np.log(10)
        / 10
        * np.clip(np.log2(np.maximum(np.arange(bins), 1) * SAMPLE_RATE / FFT_SIZE / 250.0) / 5.0, -0.5, 1.3)
    )
    aperiodicity = np.clip(aperiodicity + style.breathiness * np.linspace(0.1, 0.9, bins), 0.0, 0.999)
    f0 = np.where(voiced, 440.0 * 2.0 ** ((pitch_curve(phrase, starts, frames, style, rng) - 69.0) / 12.0), 0.0)
    return f0, log_envelope + tilt, aperiodicity


def _source_frames(syllable: Syllable, length: int, slurred: bool, joined: bool) -> tuple[int, np.ndarray]:
    """Returns how many frames lie in front of the beat, and for each frame of the note its place in the syllable.

    The consonant keeps its speed and comes before the beat, the vowel is stretched, the end keeps its speed again.
    """
    low, high = syllable.nucleus
    lead = np.arange(0 if slurred else max(0, low - _CONSONANT_FRAMES), 0 if slurred else low, dtype=float)
    total = len(syllable.voiced)
    tail = np.arange(high, min(total, high + _CODA_FRAMES), dtype=float) if not joined else np.zeros(0)
    tail = tail[: max(2, length // 3)] if not joined else tail
    vowel = max(2, length - len(tail))
    # Slow in the middle: the steady part of the vowel lasts, its edges keep their movement.
    place = np.linspace(-1.0, 1.0, vowel)
    stretched = low + (high - 1 - low) * (0.5 + 0.5 * (0.35 * place + 0.65 * place**3))
    return len(lead), np.concatenate([lead, stretched, tail])


def pitch_curve(
    phrase: list[SungNote], starts: list[int], frames: int, style: SingingStyle, rng: np.random.Generator
) -> np.ndarray:
    """Returns `(frames,)` MIDI pitches: glides into each note, vibrato on long ones, slow drift."""
    pitch = np.full(frames, float(phrase[0].pitch))
    for place, (note, start) in enumerate(zip(phrase, starts, strict=True)):
        time = np.arange(frames - start) * FRAME_SECONDS
        # A melody note is reached from the one before; after a jump or at a phrase's start from below.
        distance = phrase[place - 1].pitch - note.pitch if place else -style.scoop_semitones
        distance = float(np.clip(distance, -3.0, 3.0))
        depth = style.vibrato_semitones * np.clip((time - 0.25) / 0.2, 0.0, 1.0)
        pitch[start:] = (
            note.pitch + distance * np.exp(-time / _SCOOP_SECONDS) + depth * np.sin(2 * np.pi * style.vibrato_hz * time)
        )
    knots = rng.normal(0.0, style.drift_semitones, frames // 40 + 2)
    return pitch + np.interp(np.arange(frames) / 40.0, np.arange(len(knots)), knots) + style.detune_semitones

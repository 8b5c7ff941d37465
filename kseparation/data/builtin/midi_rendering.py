"""Plays notes on the General MIDI soundfont that comes inside the `pretty_midi` wheel."""

import functools
import importlib.util
import io
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kseparation.audio.resampling import resample
from kseparation.data.builtin.instruments import DRUM_KEYS, FontKit, Program
from kseparation.data.builtin.score import DrumHit, Note

SAMPLE_RATE = 44100
_FONT_RATE = 48000
_TICKS_PER_BEAT = 960
_TICKS_PER_SECOND = 2 * _TICKS_PER_BEAT  # at the MIDI default of 120 beats per minute
_DRUM_CHANNEL = 9


@functools.cache
def _soundfont() -> bytes:
    # find_spec: importing pretty_midi would cost half a second for a file that lies beside it.
    spec = importlib.util.find_spec("pretty_midi")
    return (Path(spec.origin).parent / "TimGM6mb.sf2").read_bytes()


def play_program(program: Program, notes: Iterable[Note], samples: int, shift: int = 0) -> np.ndarray:
    """Plays notes with one sound, dry.

    Args:
        program: the sound.
        notes: what to play.
        samples: length of the result at 44.1 kHz; what sounds longer is cut.
        shift: semitones by which the recordings are moved while the pitch stays: changes the timbre. -4 to 4, default
            0.

    Returns:
        float32 `(samples, 2)`.
    """
    events = []
    for note in notes:
        key = int(np.clip(note.pitch - shift, 0, 127))
        events += [
            (note.start_seconds, True, key, note.velocity),
            (note.start_seconds + note.duration_seconds, False, key, 0),
        ]
    return _render(events, 0, program.number, samples, shift)


def play_kit(kit: FontKit, hits: Iterable[DrumHit], samples: int, shift: int = 0) -> np.ndarray:
    """Plays strokes on a drum kit, dry, as `play_program` does; `shift` tunes the whole kit by semitones."""
    keys = DRUM_KEYS | dict(kit.keys)
    events = []
    for hit in hits:
        key = keys[hit.piece]
        events += [(hit.start_seconds, True, key, hit.velocity), (hit.start_seconds + 0.1, False, key, 0)]
    return _render(events, _DRUM_CHANNEL, kit.program, samples, shift)


def _render(
    events: list[tuple[float, bool, int, int]], channel: int, program: int, samples: int, shift: int
) -> np.ndarray:
    """Renders slower or faster by the ratio of `shift` and resamples that away, which moves pitch and formants."""
    import midirenderer

    if not events:
        return np.zeros((samples, 2), np.float32)
    ratio = 2.0 ** (shift / 12)
    with wave.open(
        io.BytesIO(midirenderer.render_wave_from(_soundfont(), _midi_file(events, channel, program, ratio)))
    ) as file:
        rate = file.getframerate()
        audio = (
            np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels()).astype(np.float32)
            / 32768.0
        )
    audio = resample(audio, round(rate * ratio), SAMPLE_RATE)[:samples]
    return np.pad(audio, ((0, samples - len(audio)), (0, 0)))


def _midi_file(events: list[tuple[float, bool, int, int]], channel: int, program: int, ratio: float) -> bytes:
    import mido

    track = mido.MidiTrack()
    # The renderer's own reverb and chorus stay off: effects are ours, and stems must be dry before them.
    for control, value in ((91, 0), (93, 0), (7, 100)):
        track.append(mido.Message("control_change", channel=channel, control=control, value=value))
    track.append(mido.Message("program_change", channel=channel, program=program))
    ticks = 0
    # At equal times a key is released before it is struck again.
    for seconds, on, key, velocity in sorted(events, key=lambda event: (event[0], event[1])):
        now = round(seconds * ratio * _TICKS_PER_SECOND)
        track.append(
            mido.Message(
                "note_on" if on else "note_off", channel=channel, note=key, velocity=velocity, time=now - ticks
            )
        )
        ticks = now
    file = mido.MidiFile(ticks_per_beat=_TICKS_PER_BEAT)
    file.tracks.append(track)
    data = io.BytesIO()
    file.save(file=data)
    return data.getvalue()

"""Training batches as a pure function of (run seed, epoch, index)."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft

from kseparation.audio.resampling import resample
from kseparation.audio.track import Track
from kseparation.data.augment import StemChoice, draw_start, samples_read

# Stands for what a mixture holds besides the stems.
REST = "(rest)"


class SegmentBatches:
    """Cuts random segments out of songs and mixes them to training examples.

    Batch `index` of `epoch` depends on nothing but the seed, these two numbers and the songs: not on what was drawn before, nor on the number of workers. So a
    training resumes where it was, and any batch can be looked at again.

    Args:
        songs: the training songs.
        stems: names of the stems in the order of the model.
        segment_samples: length of an example in samples.
        batch_size: examples in a batch.
        seed: of the run.
        augmentations: called in this order with (choices, generator, songs, segment_samples).
    """

    def __init__(
        self,
        songs: Sequence[Track],
        stems: Sequence[str],
        segment_samples: int,
        batch_size: int,
        seed: int = 0,
        augmentations: Sequence[Callable] = (),
    ):
        self.songs = list(songs)
        self.stems = tuple(stems)
        self.segment_samples = segment_samples
        self.batch_size = batch_size
        self.seed = seed
        self.augmentations = list(augmentations)
        # What the mixtures hold besides the stems passes the augmentations like a stem of its own, and is no target.
        self.sources = (*self.stems, REST) if any(song.has_rest for song in self.songs) else self.stems

    def plan(self, epoch: int, index: int, draw: int = 0) -> list[list[StemChoice]]:
        """Returns what batch `index` of `epoch` consists of: for each example, for each stem, its source and changes. `draw` counts how often it was drawn anew."""
        return [self._plan_example(epoch, index, example, draw) for example in range(self.batch_size)]

    def _plan_example(self, epoch, index, example, number):
        # A counter-based generator: any draw is reached without making those before it.
        key = [self.seed, epoch, index, example, *([number] if number else [])]
        draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
        track = int(draw.integers(len(self.songs)))
        start = draw_start(self.songs[track], self.segment_samples, draw)
        choices = [StemChoice(source, track, start) for source in self.sources]
        for augmentation in self.augmentations:
            choices = augmentation(choices, draw, self.songs, self.segment_samples)
        return choices

    def batch(self, epoch: int, index: int, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns mixtures float32 `(batch, samples, channels)` and their stems `(batch, stems, samples, channels)`."""
        sources = np.stack([np.stack([self._read(choice) for choice in choices]) for choices in self.plan(epoch, index, draw)])
        return sources.sum(axis=1), sources[:, : len(self.stems)]

    def _read(self, choice):
        if choice.gain == 0.0:
            return np.zeros((self.segment_samples, self.songs[choice.track].channels), "float32")
        audio = self._read_at_speed(choice)
        if choice.tilt_db:
            audio = tilt(audio, choice.tilt_db, self.songs[choice.track].sample_rate)
        if choice.swap_channels:
            audio = audio[:, ::-1]
        return audio * np.float32(choice.gain)

    def _read_at_speed(self, choice):
        song = self.songs[choice.track]
        if choice.speed == 1.0:
            return read_segment(song, choice.stem, choice.start, self.segment_samples)
        audio = read_segment(song, choice.stem, choice.start, samples_read(self.segment_samples, choice.speed, song.sample_rate))
        return resample(audio, round(song.sample_rate * choice.speed), song.sample_rate)[: self.segment_samples]


def tilt(audio: np.ndarray, tilt_db: float, sample_rate: int) -> np.ndarray:
    """Raises treble and lowers bass by `tilt_db` dB per octave about 1 kHz, between 60 Hz and 12 kHz; the phase stays.

    Args:
        audio: float32 `(samples, channels)`.
        tilt_db: slope in dB per octave.
        sample_rate: in Hz.
    """
    frequencies = np.fft.rfftfreq(len(audio), 1 / sample_rate)
    octaves = np.log2(np.clip(frequencies, 60, 12000) / 1000)
    spectrum = scipy.fft.rfft(audio, axis=0) * (10 ** (tilt_db * octaves / 20))[:, None].astype("float32")
    return scipy.fft.irfft(spectrum, len(audio), axis=0).astype("float32")


def read_segment(track: Track, stem: str, start: int, segment_samples: int) -> np.ndarray:
    """Reads `(segment_samples, channels)` of one stem or of REST, float32; what lies beyond the end of the song is silence."""
    if stem == REST:
        audio = track.read_rest(start, segment_samples) if track.has_rest else np.zeros((0, track.channels), "float32")
    else:
        audio = track.read(stem, start, segment_samples)
    return np.pad(audio, ((0, segment_samples - len(audio)), (0, 0)))

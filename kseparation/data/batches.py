"""Training batches as a pure function of (run seed, epoch, index), and the stream that reads them ahead."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft

from kseparation.audio.resampling import resample
from kseparation.audio.track import Track
from kseparation.data.augment import StemChoice, draw_start


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

    def plan(self, epoch: int, index: int) -> list[list[StemChoice]]:
        """Returns what batch `index` of `epoch` consists of: for each example, for each stem, its source and changes."""
        return [self._plan_example(epoch, index, example) for example in range(self.batch_size)]

    def _plan_example(self, epoch, index, example):
        # A counter-based generator: any draw is reached without making those before it.
        draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, index, example])))
        track = int(draw.integers(len(self.songs)))
        start = draw_start(self.songs[track], self.segment_samples, draw)
        choices = [StemChoice(stem, track, start) for stem in self.stems]
        for augmentation in self.augmentations:
            choices = augmentation(choices, draw, self.songs, self.segment_samples)
        return choices

    def batch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns mixtures float32 `(batch, samples, channels)` and their stems `(batch, stems, samples, channels)`."""
        stems = np.stack([np.stack([self._read(choice) for choice in choices]) for choices in self.plan(epoch, index)])
        return stems.sum(axis=1), stems

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
        # The rate is a whole number, so the length follows from it and not from the speed.
        rate = round(song.sample_rate * choice.speed)
        needed = math.ceil(self.segment_samples * rate / song.sample_rate) + 1
        audio = read_segment(song, choice.stem, choice.start, needed)
        return resample(audio, rate, song.sample_rate)[: self.segment_samples]


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
    """Reads `(segment_samples, channels)` of one stem, float32; what lies beyond the end of the song is silence."""
    audio = track.read(stem, start, segment_samples)
    return np.pad(audio, ((0, segment_samples - len(audio)), (0, 0)))


def stream(
    batches: SegmentBatches, steps_per_epoch: int, first_epoch: int = 0, workers: int = 2, first_index: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches in order from batch `first_index` of `first_epoch` on, without end.

    Args:
        batches: where they come from.
        steps_per_epoch: batches in an epoch.
        first_epoch: epoch to begin with.
        workers: threads that read ahead; 0 reads when asked. The order and content do not depend on it.
        first_index: batch of that epoch to begin with.
    """

    def positions():
        position = first_epoch * steps_per_epoch + first_index
        while True:
            yield divmod(position, steps_per_epoch)
            position += 1

    if workers == 0:
        for epoch, index in positions():
            yield batches.batch(epoch, index)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        waiting = deque()
        try:
            for epoch, index in positions():
                waiting.append(pool.submit(batches.batch, epoch, index))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def validation_batches(
    songs: Sequence[Track], stems: Sequence[str], segment_samples: int, batch_size: int, overlap: float = 0.0, most_batches: int = 16
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the fixed validation set: segments one after another from each song in turn, in batches of one size.

    Every song gives its first segment before any gives its second, so that few batches still hear many songs.

    Args:
        songs: the validation songs.
        stems: names of the stems in the order of the model.
        segment_samples: length of a segment.
        batch_size: segments in a batch; a last batch that is not full is left out unless it is the only one.
        overlap: share of a segment that the next one of the same song repeats, 0 to below 1.
        most_batches: more are not read.

    Returns:
        A list of (mixtures, stems) as `SegmentBatches.batch` gives them.
    """
    hop = max(1, round(segment_samples * (1 - overlap)))
    places = [(start, index) for index, song in enumerate(songs) for start in range(0, max(song.samples - segment_samples, 0) + 1, hop)]
    places = sorted(places)[: batch_size * most_batches]
    size = min(batch_size, len(places))
    batches = []
    for first in range(0, len(places) - size + 1, size):
        chosen = places[first : first + size]
        examples = [np.stack([read_segment(songs[index], stem, start, segment_samples) for stem in stems]) for start, index in chosen]
        references = np.stack(examples)
        batches.append((references.sum(axis=1), references))
    return batches

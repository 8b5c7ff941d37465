"""Faults of what is read."""

import tempfile
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from kseparation.audio.track import Track
from kseparation.errors import UserError
from kseparation.training.faults.injection import Fault


class FileNaN(Fault):
    """A sample of a training file is NaN: a copy of one is damaged so, and read in its place.

    Args:
        step: as in `Fault`.
        sample: the one that is NaN, in the first stem of the first song.
    """

    def __init__(self, step: int = 10, sample: int = 1000):
        super().__init__(step)
        self.sample = sample

    def read(self, batches, position):
        song = batches.songs[0]
        stem = next(iter(song.stems))
        audio = song.read(stem)
        audio[min(self.sample, len(audio) - 1)] = np.nan
        with tempfile.TemporaryDirectory() as folder:
            damaged = Path(folder) / song.name / f"{stem}.wav"
            damaged.parent.mkdir()
            wavfile.write(damaged, song.sample_rate, audio)
            Track(song.name, {stem: damaged}, sample_rate=song.sample_rate, channels=song.channels).read(stem)


class WorkerError(Fault):
    """The code that makes a batch raises an error of its own."""

    def read(self, batches, position):
        raise RuntimeError(f"injected: batch {position} cannot be made")


class GainInfinite(Fault):
    """An augmentation amplifies one stem by infinity."""

    def change_batch(self, mixtures, stems, micro_batch):
        if micro_batch == 0:
            with np.errstate(invalid="ignore"):  # where the stem is silent
                stems[0, 0] *= np.inf
                mixtures[0] = stems[0].sum(axis=0)


class AccumulationNaN(Fault):
    """The last of the micro-batches of a step holds a NaN: what the sound ones before it would have done to the weights must not count either."""

    def __init__(self, step: int = 10, micro_batch: int = 1):
        super().__init__(step)
        if micro_batch < 0:
            raise ValueError(f"`micro_batch` must not be negative. Received: micro_batch={micro_batch}")
        self.micro_batch = micro_batch

    def require_possible(self, steps, accumulate_steps, compiled):
        super().require_possible(steps, accumulate_steps, compiled)
        if self.micro_batch >= accumulate_steps:
            raise ValueError(f"`micro_batch` must be below `training.accumulate_steps`, {accumulate_steps}. Received: micro_batch={self.micro_batch}, counted from 0 and 1 unless given. Accumulate more steps")

    def change_batch(self, mixtures, stems, micro_batch):
        if micro_batch == self.micro_batch:
            mixtures[-1, len(mixtures[-1]) // 3] = np.nan


class Silence(Fault):
    """A batch of digital silence, which is no fault."""

    def change_batch(self, mixtures, stems, micro_batch):
        mixtures[...] = 0.0
        stems[...] = 0.0


class Constant(Fault):
    """A batch that is off zero and nothing else, which is no fault."""

    def change_batch(self, mixtures, stems, micro_batch):
        stems[...] = 1.0 / stems.shape[1]
        mixtures[...] = 1.0


class FullScaleSquare(Fault):
    """A batch of square waves at full scale, whose spectra leave the range of half precision; no fault."""

    def change_batch(self, mixtures, stems, micro_batch):
        wave = np.where(np.arange(mixtures.shape[1]) // 50 % 2, -1.0, 1.0).astype("float32")[:, None]
        mixtures[...] = wave
        stems[...] = wave / stems.shape[1]


class ValidationNaN(Fault):
    """A batch of the validation holds a NaN."""

    def __init__(self, batch: int = 0):
        super().__init__(1)
        if batch < 0:
            raise ValueError(f"`batch` must not be negative. Received: batch={batch}")
        self.batch = batch

    def require_validation(self, batches):
        if self.batch >= batches:
            raise UserError(f"`batch` of the injected fault must be below the number of batches of the validation, {batches}. Received: batch={self.batch}.")

    def change_validation(self, index, mixtures, stems):
        if index == self.batch:
            mixtures[0, 0] = np.nan

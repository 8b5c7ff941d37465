"""Training a separator on songs."""

import dataclasses
import functools
import hashlib
import json
import os
import sys

import keras
import numpy as np

from kseparation.data import AUGMENTATIONS, DATASETS, SegmentBatches, ValidationSegments
from kseparation.data.input_check import check_tracks
from kseparation.errors import UserError
from kseparation.workflows.tasks.construction import construct_dataset
from kseparation.workflows.tasks.task import Task

# Examples that are read before the first step where a model starts from data.
START_EXAMPLES = 32
# A look at which layers a model calls takes no more sound than this.
LOOK_SAMPLES = 4096
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


class SeparationTask(Task):
    """Segments of songs, mixed of their stems."""

    name = "separation"
    datasets = DATASETS
    augmentations = AUGMENTATIONS
    set_by_data = ("root", "stems", "sample_rate", "channels", "validation_split")
    set_by_run = ("stems", "sample_rate", "channels", "segment_samples")
    batch_names = ("mixtures", "stems")

    @property
    def segment_samples(self) -> int:
        """Length of a training segment in samples."""
        return round(self.config.data.segment_seconds * self.config.data.sample_rate)

    def require_possible(self):
        super().require_possible()
        # A lower bound: the network needs many times the memory of its input, and a GPU may have less than the machine.
        data, batch = self.config.data, self.config.training.batch_size
        needed = 4 * batch * self.segment_samples * data.channels * (len(data.stems) + 1)  # float32, the mixture beside the stems
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > available:
            raise UserError(
                f"`training.batch_size`: the sound of one batch takes at least {_size(needed)}, and this machine has {_size(available)} of memory. Received: {batch} "
                f"segments of {data.segment_seconds:g} s. Use a smaller batch, with `training.accumulate_steps` for the same effect, or shorter segments."
            )

    def model_arguments(self):
        data = self.config.data
        return {"stems": tuple(data.stems), "sample_rate": data.sample_rate, "channels": data.channels, "segment_samples": self.segment_samples}

    @functools.cached_property
    def dataset(self):
        """The songs in their parts."""
        return construct_dataset(self)

    @functools.cached_property
    def batches(self):
        config = self.config
        return SegmentBatches(self.dataset.tracks("train"), config.data.stems, self.segment_samples, config.training.batch_size, config.seed, self.changes)

    @functools.cached_property
    def validation(self):
        return ValidationSegments(self.dataset.tracks("validation"), self.batches.stems, self.segment_samples, self.config.training.batch_size, self.config.data.overlap)

    def open(self):
        songs, validation = self.dataset.tracks("train"), self.dataset.tracks("validation")
        check_tracks([*songs, *validation])
        short = sum(song.samples < self.segment_samples for song in songs)
        if short:
            print(f"{short} of {len(songs)} training songs are shorter than a segment: silence follows them", file=sys.stderr)

    def batch_spec(self):
        audio = (self.segment_samples, self.config.data.channels)
        return tuple(keras.KerasTensor((None, *shape)) for shape in (audio, (len(self.config.data.stems), *audio)))

    def model_input(self):
        return keras.KerasTensor((None, None, self.config.data.channels))  # segments of any length

    def require_loss(self, loss, place):
        least = getattr(loss, "least_samples", 1)
        if self.segment_samples < least:
            raise UserError(f"{place} needs segments of {least} samples or more. Received: {self.segment_samples} samples. Use shorter windows, or a larger `data.segment_seconds`.")

    def example(self):
        return np.zeros((1, min(self.segment_samples, LOOK_SAMPLES), self.config.data.channels), "float32")

    def require_fit(self, model):
        more = [song for song in (*self.batches.songs, *self.dataset.tracks("validation")) if song.has_rest]
        if not more:
            return
        names = ", ".join(self.batches.stems)
        if model.stems_add_up:
            song = more[0]
            raise UserError(
                f"The songs hold more than `data.stems`, but the stems of this model add up to the mixture. Received: data.stems={names}, "
                f"and more in the mixture of `{song.name}` at {song.rest_start / song.sample_rate:.1f} s. "
                "Name all stems, or choose another output: --set=model.output=mask."
            )
        print(f"the mixtures hold more than {names}: the rest is heard, and is no target", file=sys.stderr)

    def start_examples(self, model):
        return (self.batches.batch(0, index) for index in range(-(-START_EXAMPLES // self.batches.batch_size)))

    def fingerprint(self, split):
        # By names and lengths, and made ones by how they were made.
        songs = self.dataset.tracks(split)
        parts = [getattr(self.dataset, "made_by", None), *([song.name, song.samples, [*song.stems]] for song in songs)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def described(self, plan):
        return [[self._choice(choice) for choice in example] for example in plan]

    def _choice(self, choice):
        song = self.batches.songs[choice.track]
        file = song.stems.get(choice.stem, song.mixture)
        return {**dataclasses.asdict(choice), "song": song.name, "file": file and str(file)}


def _size(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"

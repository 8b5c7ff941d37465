"""Data sets, augmentations and batches. To add a data set: a file here with a class like `TrackFolder`, a line below."""

from kseparation.data.augment import AUGMENTATIONS
from kseparation.data.batches import SegmentBatches, stream, validation_batches
from kseparation.data.builtin_music import BuiltinMusic
from kseparation.data.track_folder import TrackFolder

DATASETS = {
    "builtin": BuiltinMusic,
    "track_folder": TrackFolder,
}

__all__ = ["AUGMENTATIONS", "DATASETS", "BuiltinMusic", "SegmentBatches", "TrackFolder", "stream", "validation_batches"]

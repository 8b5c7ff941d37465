"""Data sets, augmentations and batches. To add a data set: a file here with a class like `TrackFolder`, a line below."""

from kseparation.data.augment import AUGMENTATIONS
from kseparation.data.batches import SegmentBatches
from kseparation.data.builtin_music import BuiltinMusic
from kseparation.data.detours import Detours
from kseparation.data.segment_stream import SegmentStream
from kseparation.data.track_folder import TrackFolder
from kseparation.data.validation import ValidationSegments

DATASETS = {
    "builtin": BuiltinMusic,
    "track_folder": TrackFolder,
}

__all__ = ["AUGMENTATIONS", "DATASETS", "BuiltinMusic", "Detours", "SegmentBatches", "SegmentStream", "TrackFolder", "ValidationSegments"]

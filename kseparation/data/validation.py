"""The segments that are validated: the same at every epoch, from all parts of all songs."""

from collections.abc import Sequence

import numpy as np

from kseparation.audio.track import Track
from kseparation.data.batches import REST, read_segment


class ValidationSegments:
    """Batches of segments that lie evenly over each song, read when they are asked for.

    Which segments there are does not depend on the batch size as long as it divides their number.

    Args:
        songs: the validation songs; each gives at least one segment.
        stems: names of the stems in the order of the model.
        segment_samples: length of a segment.
        batch_size: segments in a batch; a last batch that is not full is left out unless it is the only one.
        overlap: largest share of a segment that the next one of the same song repeats, 0 to below 1.
        most_segments: number of segments, where the songs are long enough.
    """

    def __init__(
        self, songs: Sequence[Track], stems: Sequence[str], segment_samples: int, batch_size: int, overlap: float = 0.0, most_segments: int = 64
    ):
        self.songs = list(songs)
        self.stems = tuple(stems)
        self.segment_samples = segment_samples
        self.places = _places(self.songs, segment_samples, overlap, most_segments)
        self.batch_size = min(batch_size, len(self.places))

    def __len__(self) -> int:
        return len(self.places) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns mixtures float32 `(batch, samples, channels)` and their stems `(batch, stems, samples, channels)`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        places = self.places[index * self.batch_size : (index + 1) * self.batch_size]
        stems = np.stack([np.stack([self._read(song, start, stem) for stem in self.stems]) for song, start in places])
        rests = np.stack([self._read(song, start, REST) for song, start in places])
        return stems.sum(axis=1) + rests, stems

    def plan(self, index: int) -> list[dict[str, str | int]]:
        """Returns what a batch is made of: `song` and `start`, a sample, of each of its segments."""
        places = self.places[index * self.batch_size : (index + 1) * self.batch_size]
        return [{"song": self.songs[song].name, "start": start} for song, start in places]

    def _read(self, song, start, source):
        return read_segment(self.songs[song], source, start, self.segment_samples)


def _places(songs, segment_samples, overlap, most_segments):
    """Returns (song, start) of every segment, the songs in turn so that a few batches already hear many of them."""
    hop = max(1, round(segment_samples * (1 - overlap)))
    share, longer = divmod(most_segments, len(songs))
    places = []
    for index, song in enumerate(songs):
        free = max(song.samples - segment_samples, 0)
        count = max(1, min(share + (index < longer), 1 + free // hop))
        # Each in the middle of its share of the song, or closer where they overlap.
        distance = min(song.samples / count, free / max(count - 1, 1))
        first = (free - distance * (count - 1)) / 2
        places += [(number, index, int(first + distance * number)) for number in range(count)]
    return [(index, start) for _, index, start in sorted(places)]

"""One song: a mixture and its stems, on the disk, read in parts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kseparation.audio.reading import audio_info
from kseparation.audio.resampled_reader import ResampledReader
from kseparation.errors import UserError, did_you_mean


class Track:
    """A song whose files are opened for each read: cheap to hold by the thousand and to send to workers.

    Files of another sample rate or channel count are converted while they are read. A file shorter than the track is
    followed by silence.

    Args:
        name: for messages and results.
        stems: name of each stem and its file.
        mixture: file of the mixture; None where it is the sum of the stems.
        sample_rate: rate at which to read, in Hz. Defaults to that of the first file.
        channels: channel count at which to read. Defaults to that of the first file.
        samples: length at that rate. Defaults to that of the longest file, for which all are opened once.

    Example:

    >>> import tempfile
    >>> from kseparation.audio.writing import write_audio
    >>> file = Path(tempfile.mkdtemp()) / "vocals.wav"
    >>> write_audio(file, np.zeros((800, 1), "float32"), sample_rate=8000)
    >>> track = Track("song", {"vocals": file}, sample_rate=16000, channels=2)
    >>> track.samples, track.read("vocals", 0, 100).shape
    (1600, (100, 2))
    """

    def __init__(
        self,
        name: str,
        stems: Mapping[str, str | Path],
        mixture: str | Path | None = None,
        sample_rate: int | None = None,
        channels: int | None = None,
        samples: int | None = None,
    ) -> None:
        self.name = name
        self.stems = {stem: Path(path) for stem, path in stems.items()}
        self.mixture = None if mixture is None else Path(mixture)
        files = [*([self.mixture] if self.mixture else []), *self.stems.values()]
        if not files:
            raise UserError(f"Track `{name}` must have a mixture or at least one stem. Received: none.")
        if sample_rate is None or channels is None:
            first = audio_info(files[0])
        self.sample_rate = first.sample_rate if sample_rate is None else sample_rate
        self.channels = first.channels if channels is None else channels
        self.samples = max(map(self._length, files)) if samples is None else samples

    def __repr__(self) -> str:
        return f"Track({self.name!r}, stems={list(self.stems)}, samples={self.samples}, sample_rate={self.sample_rate})"

    def read(self, stem: str, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Returns one stem, float32 `(n, channels)`; n is `samples` (None: all), or less where the track ends."""
        if stem not in self.stems:
            raise UserError(f"Track `{self.name}` has no stem `{stem}`. {did_you_mean(stem, self.stems)}")
        return self._read_file(self.stems[stem], start, samples)

    def read_mixture(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Returns the mixture, float32 `(n, channels)`: its file, or else the sum of the stems."""
        if self.mixture is not None:
            return self._read_file(self.mixture, start, samples)
        return np.sum([self.read(stem, start, samples) for stem in self.stems], axis=0, dtype=np.float32)

    def _length(self, path: Path) -> int:
        with ResampledReader(path, self.sample_rate, self.channels) as reader:
            return reader.samples

    def _read_file(self, path: Path, start: int, samples: int | None) -> np.ndarray:
        rest = max(0, self.samples - start)
        samples = rest if samples is None else min(samples, rest)
        with ResampledReader(path, self.sample_rate, self.channels) as reader:
            audio = reader.read(start, samples)
        return np.pad(audio, ((0, samples - len(audio)), (0, 0)))

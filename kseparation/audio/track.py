"""One song: a mixture and its stems, on the disk, read in parts."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kseparation.audio.reading import audio_info
from kseparation.audio.resampled_reader import ResampledReader
from kseparation.errors import UserError, did_you_mean

# A mixture of a few stems, each rounded to 16 bits, differs from its own rounded file by less.
ROUNDING = 1e-4


def is_heard_beside(rest: float, mixture: float) -> bool:
    """Whether what is left of a mixture is more than rounding and what a limiter does to a sum: above -40 dB of it. Both are root mean squares."""
    return rest > max(0.01 * mixture, ROUNDING)


class Track:
    """A song whose files are opened for each read: cheap to hold by the thousand and to send to workers.

    Files of another sample rate or channel count are converted while they are read. A file shorter than the track is
    followed by silence.

    Args:
        name: for messages and results.
        stems: name of each stem and its file.
        mixture: file of the mixture; None where it is the sum of the stems and `others`.
        others: files of what else sounds in the mixture, where there is no file of it.
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
        others: Sequence[str | Path] = (),
    ) -> None:
        self.name = name
        self.stems = {stem: Path(path) for stem, path in stems.items()}
        self.mixture = None if mixture is None else Path(mixture)
        self.others = tuple(Path(path) for path in others)
        files = self.files
        if not files:
            raise UserError(f"Track `{name}` must have a mixture or at least one stem. Received: none.")
        if sample_rate is None or channels is None:
            first = audio_info(files[0])
        self.sample_rate = first.sample_rate if sample_rate is None else sample_rate
        self.channels = first.channels if channels is None else channels
        self.samples = max(map(self._length, files)) if samples is None else samples

    def __repr__(self) -> str:
        return f"Track({self.name!r}, stems={list(self.stems)}, samples={self.samples}, sample_rate={self.sample_rate})"

    @property
    def files(self) -> list[Path]:
        """Every file that is read for this song, the mixture first."""
        return [*([self.mixture] if self.mixture else self.others), *self.stems.values()]

    @property
    def has_rest(self) -> bool:
        """Whether the mixture holds more than the stems."""
        return self.rest_start is not None

    @functools.cached_property
    def rest_start(self) -> int | None:
        """Where more than the stems is first found, above -40 dB of the mixture in half a second of every five; None where it is not."""
        if self.mixture is None or not self.stems:
            return 0 if self.others else None
        length = self.sample_rate // 2
        excerpts = max(3, self.samples // (5 * self.sample_rate))
        for number in range(excerpts):
            start = max(0, int(self.samples * (number + 0.5) / excerpts) - length // 2)
            mixture, rest = self.read_mixture(start, length), self.read_rest(start, length)
            if is_heard_beside(*(float(np.sqrt(np.mean(np.square(sound)))) for sound in (rest, mixture))):
                return start
        return None

    def read_rest(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Returns what the mixture holds besides the stems, float32 `(n, channels)`."""
        if self.mixture is None:
            return self._sum(self.others, start, samples)
        return self.read_mixture(start, samples) - self._sum(self.stems.values(), start, samples)

    def read(self, stem: str, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Returns one stem, float32 `(n, channels)`; n is `samples` (None: all), or less where the track ends."""
        if stem not in self.stems:
            raise UserError(f"Track `{self.name}` has no stem `{stem}`. {did_you_mean(stem, self.stems)}")
        return self.read_file(self.stems[stem], start, samples)

    def read_mixture(self, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Returns the mixture, float32 `(n, channels)`: its file, or else the sum of the stems and of what else there is."""
        if self.mixture is not None:
            return self.read_file(self.mixture, start, samples)
        return self._sum([*self.stems.values(), *self.others], start, samples)

    def _sum(self, paths: Iterable[Path], start: int, samples: int | None) -> np.ndarray:
        return np.sum([self.read_file(path, start, samples) for path in paths], axis=0, dtype=np.float32)

    def read_file(self, path: Path, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Returns one of `files`, float32 `(n, channels)`, as `read` returns a stem."""
        rest = max(0, self.samples - start)
        samples = rest if samples is None else min(samples, rest)
        with ResampledReader(path, self.sample_rate, self.channels) as reader:
            audio = reader.read(start, samples)
        return np.pad(audio, ((0, samples - len(audio)), (0, 0)))

    def _length(self, path: Path) -> int:
        with ResampledReader(path, self.sample_rate, self.channels) as reader:
            return reader.samples

"""Sample-exact access to the decoders of libsndfile."""

import os
from collections import deque
from pathlib import Path

import numpy as np
import soundfile

BLOCK_SAMPLES = 65536
# Seeking is exact in wav, aiff and flac only (measured with libsndfile 1.2.2): after a seek in an mp3 up to 4000
# samples are damaged, since a frame needs bits of those before it, and Ogg loses sound; soundfile seeks after each of
# its reads. These two are therefore decoded in order, and this much is kept for readers that step back, as overlapping
# segments do: 48 s at 44.1 kHz.
IN_ORDER_FORMATS = ("MP3", "OGG")
KEPT_SAMPLES = 2**21


class _SoundFile(soundfile.SoundFile):
    """Keeps soundfile from seeking behind our back after each read."""

    def seekable(self) -> bool:
        return False


class Decoder:
    """Decodes one file from any position; `claimed_samples` is the length that its header names.

    Args:
        path: a file that libsndfile reads.
    """

    def __init__(self, path: Path) -> None:
        self._name = os.fsencode(path)  # soundfile refuses a text that is not valid UTF-8
        self._file = _SoundFile(self._name)
        self._position = 0
        self.in_order = self._file.format in IN_ORDER_FORMATS
        self._kept: deque[tuple[int, np.ndarray]] = deque()
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        self.format, self.subtype, self.log = self._file.format, self._file.subtype, self._file.extra_info
        self.claimed_samples = self._file.frames

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def read(self, start: int, samples: int) -> np.ndarray:
        """Returns float32 `(n, channels)`; n is `samples` or 65536, and less only where there is no more."""
        samples = min(samples, BLOCK_SAMPLES)
        if self.in_order:
            return self._read_in_order(start, samples)
        try:
            if start != self._position:
                self._file.seek(start, os.SEEK_SET)
            block = self._file.read(samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:  # a decoder that falls off the end of a cut file
            self._position = -1
            return np.zeros((0, self.channels), np.float32)
        self._position = start + len(block)
        return block

    def count(self) -> int:
        """Decodes the whole file and returns its number of samples."""
        found = 0
        while block := len(self.read(found, BLOCK_SAMPLES)):
            found += block
        return found

    def _read_in_order(self, start: int, samples: int) -> np.ndarray:
        if self._kept and start < self._kept[0][0]:
            self._file.close()
            self._file, self._position = _SoundFile(self._name), 0
            self._kept.clear()
        while self._position < start + samples:
            block = self._file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
            if not len(block):
                break
            self._kept.append((self._position, block))
            self._position += len(block)
            while self._position - self._kept[0][0] > KEPT_SAMPLES:
                self._kept.popleft()
        parts = [block[max(0, start - at) : max(0, start + samples - at)] for at, block in self._kept]
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), np.float32)

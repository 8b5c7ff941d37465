"""Sample-exact access to the decoders of libsndfile."""

import io
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


# What an mp3 says of its length in its first frame, if it does.
_LENGTH_MARKS = (b"Xing", b"Info", b"VBRI")


class _SoundFile(soundfile.SoundFile):
    """Keeps soundfile from seeking behind our back after each read."""

    def seekable(self) -> bool:
        return False


class _Endless(io.RawIOBase):
    """A file that claims to be very long.

    Of an mp3 that does not say how long it is, libsndfile guesses the length from its size and the rate of its first frame, and stops there: of a variable rate it may drop a
    fifth of the song.
    """

    def __init__(self, name: bytes) -> None:
        self._file, self._at_end = open(name, "rb"), False

    def readinto(self, buffer) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at_end = whence == os.SEEK_END
        return 2**40 if self._at_end else self._file.seek(offset, whence)

    def tell(self) -> int:
        return 2**40 if self._at_end else self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _says_its_length(name: bytes) -> bool:
    with open(name, "rb") as file:
        tag = file.read(10)
        # The size of the tag in front has seven bits to a byte.
        file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0))) if tag.startswith(b"ID3") else 0)
        head = file.read(4096)
    return any(mark in head for mark in _LENGTH_MARKS)


class Decoder:
    """Decodes one file from any position; `claimed_samples` is the length that its header names, 0 where an mp3 names none.

    Args:
        path: a file that libsndfile reads.
    """

    def __init__(self, path: Path) -> None:
        self._name = os.fsencode(path)  # soundfile refuses a text that is not valid UTF-8
        self._stream: _Endless | None = None
        self._file = _SoundFile(self._name)
        self._position = 0
        self.in_order = self._file.format in IN_ORDER_FORMATS
        self._kept: deque[tuple[int, np.ndarray]] = deque()
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        self.format, self.subtype, self.log = self._file.format, self._file.subtype, self._file.extra_info
        self.claimed_samples = self._file.frames
        self._is_endless = self.format == "MP3" and not _says_its_length(self._name)
        if self._is_endless:
            self.claimed_samples = 0
            self._reopen()

    def _reopen(self) -> None:
        self.close()
        self._stream = _Endless(self._name) if self._is_endless else None
        self._file, self._position = _SoundFile(self._stream or self._name), 0

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        if self._stream is not None:
            self._stream.close()

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

    def count(self, limit: float = float("inf")) -> int:
        """Decodes the file to its end, or to a block beyond `limit`, and returns the number of samples."""
        found = 0
        while found <= limit and (block := len(self.read(found, BLOCK_SAMPLES))):
            found += block
        return found

    def _read_in_order(self, start: int, samples: int) -> np.ndarray:
        if self._kept and start < self._kept[0][0]:
            self._reopen()
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

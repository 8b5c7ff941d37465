"""Reading of audio files in blocks, with one clear message for each way in which a file can be bad.

A header is a claim: nothing is allocated from its counts, and a file that ends before its header says is refused when
it is opened.
"""

import functools
import logging
import mmap
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from kseparation.audio.decoding import BLOCK_SAMPLES, Decoder
from kseparation.errors import UserError

MAX_CHANNELS = 64
SAMPLE_RATES = (100, 768_000)
# A day and some hours. A few megabytes of silence may unfold to any length.
MAX_SECONDS = 100_000
# From here on the length in a header says that its writer did not know it: all ones in a FLAC, or what libsndfile makes of zeros.
_UNKNOWN_SAMPLES = 2**36 - 1
_PROTECTED = (b"ftypM4P", b"drms", b"drmi", b"enca", b"encv", b"pssh")
# Writers that cannot seek back (pipes) leave a size close below these in the size field: "as long as it lasts".
_UNKNOWN_SIZES = (0x7FFFFFFF, 0xFFFFFFFF)
_CLOSE = 0xFFFF
_SIZE_CLAIM = re.compile(r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)

logger = logging.getLogger("kseparation")


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds: `samples` per channel; `format` and `subtype` are libsndfile's: "WAV", "PCM_16"."""

    path: Path
    sample_rate: int
    samples: int
    channels: int
    format: str
    subtype: str


def require_finite(audio: np.ndarray, source: str | Path, start: int = 0) -> None:
    """Raises UserError with the position of the first NaN or infinity.

    Args:
        audio: `(samples, channels)`.
        source: name of the file for the message.
        start: position of the first row of `audio` in the file, in samples.

    Example:

    >>> require_finite(np.zeros((4, 2), "float32"), "song.wav")
    """
    # float32 values cannot overflow a float64 sum, so a finite sum proves finite samples in one cheap pass.
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        if np.isfinite(np.sum(audio, dtype=np.float64)):
            return
    sample, channel = np.argwhere(~np.isfinite(audio))[0]
    raise UserError(
        f"`{source}` holds a value that is no number: samples must be finite. Received: {audio[sample, channel]} "
        f"at sample {start + sample}, channel {channel} (counted from 0). Export the file again, or cut that part out."
    )


def audio_info(path: str | Path) -> AudioInfo:
    """Returns sample rate, length and channels of a file after checking that it can be read to its end.

    Raises:
        UserError: the file is missing, no regular file, empty, not audio, cut short, or of an absurd shape.
    """
    with AudioReader(path) as reader:
        return reader.info


def read_audio(path: str | Path, start: int = 0, samples: int | None = None) -> tuple[np.ndarray, int]:
    """Reads a file, or a part of it, into memory.

    Args:
        path: any format that libsndfile reads: wav, flac, ogg, mp3, aiff, ...
        start: first sample.
        samples: how many at most; None reads to the end.

    Returns:
        float32 `(samples, channels)` with full scale at 1 (float files may exceed it), and the sample rate in Hz.
    """
    with AudioReader(path) as reader:
        return reader.read(start, reader.info.samples - start if samples is None else samples), reader.info.sample_rate


class AudioReader:
    """An open audio file, read at any position; a context manager.

    Every read checks that the samples are there and finite. One reader belongs to one thread.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        status = _regular_file(self.path)
        self._decoder = _open(self.path)
        try:
            self.info = self._checked_info(status)
        except BaseException:
            self._decoder.close()
            raise

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def read(self, start: int, samples: int) -> np.ndarray:
        """Returns float32 `(n, channels)` from `start`; n is `samples`, or less where the file ends."""
        if start < 0 or samples < 0:
            raise UserError(f"`start` and `samples` must not be negative. Received: start={start}, samples={samples}.")
        samples = min(samples, max(0, self.info.samples - start))
        blocks, position = [], start
        while position < start + samples:
            block = self._decoder.read(position, start + samples - position)
            if not len(block):
                raise _truncated(self.path, self.info.samples, position)
            require_finite(block, self.path, position)
            blocks.append(block)
            position += len(block)
        return np.concatenate(blocks) if blocks else np.zeros((0, self.info.channels), np.float32)

    def blocks(self, block_samples: int = BLOCK_SAMPLES) -> Iterator[np.ndarray]:
        """Yields the file in order as float32 `(n, channels)`, each block of `block_samples` but the last."""
        for start in range(0, self.info.samples, block_samples):
            yield self.read(start, block_samples)

    def _checked_info(self, status: os.stat_result) -> AudioInfo:
        file = self._decoder
        low, high = SAMPLE_RATES
        if not 1 <= file.channels <= MAX_CHANNELS:
            raise UserError(
                f"`{self.path}` must have 1 to {MAX_CHANNELS} channels. Received: channels={file.channels}. "
                "If it has not, its header is damaged: export it again."
            )
        if not low <= file.sample_rate <= high:
            raise UserError(
                f"`{self.path}` must have a sample rate of {low} to {high} Hz. Received: "
                f"sample_rate={file.sample_rate}. If it has, its header is damaged: export it again."
            )
        claim = _SIZE_CLAIM.search(file.log)
        if claim and int(claim[2]) < int(claim[1]) and not any(0 <= size - int(claim[1]) <= _CLOSE for size in _UNKNOWN_SIZES):
            raise _truncated(self.path, int(claim[1]), int(claim[2]), "bytes of audio")
        samples = _decodable_samples(self.path, status.st_size, status.st_mtime_ns)
        if samples < 1:
            raise UserError(f"`{self.path}` holds no sound: at least one sample is required. Received: samples=0.")
        if samples > MAX_SECONDS * file.sample_rate:
            raise UserError(
                f"`{self.path}` lasts longer than {MAX_SECONDS:,} seconds, a little more than a day. Received: {samples / file.sample_rate:,.0f} s or more. Cut it into parts."
            )
        return AudioInfo(self.path, file.sample_rate, samples, file.channels, file.format, file.subtype)


def _regular_file(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"`{path}` does not exist: an audio file is required. Check the path.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"`{path}` cannot be read: {error}. Check the path and its permissions.") from None
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"`{path}` is a folder: an audio file is required. Name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"`{path}` is not a regular file but a pipe, socket or device. Save the audio to a file first.")
    if status.st_size == 0:
        raise UserError(f"`{path}` is empty (0 bytes): an audio file is required. Copy or export it again.")
    return status


def _open(path: Path) -> Decoder:
    try:
        with open(path, "rb"):  # libsndfile reports a missing permission as a system error without a name
            pass
        return Decoder(path)
    except OSError as error:
        raise UserError(f"`{path}` cannot be read: {error.strerror}. Check its permissions.") from None
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile takes `.raw` for headerless samples
        if _is_protected(path):
            raise UserError(
                f"`{path}` is protected against copying (DRM): only the program that it was bought for can play it. Received: an encrypted MPEG-4 file. "
                "Buy or export it without the protection."
            ) from None
        reason = str(getattr(error, "error_string", "headerless samples have no known rate")).rstrip(".")
        raise UserError(
            f"`{path}` is not an audio file that can be read: wav, flac, ogg, mp3 or aiff is required. "
            f"Received: {reason}. Convert it first, for example with `ffmpeg -i INPUT output.wav`."
        ) from None


@functools.lru_cache(maxsize=65536)
def _decodable_samples(path: Path, size: int, changed_ns: int) -> int:
    """Returns how many samples there are; remembered for this size and time, since data loading opens a file often."""
    decoder = _open(path)
    try:
        claimed, limit = decoder.claimed_samples, MAX_SECONDS * decoder.sample_rate
        if decoder.format == "OGG":
            _require_one_stream(path)
        if "lacks an end-of-stream bit" in decoder.log:
            logger.warning("`%s` ends without the mark of its end; it may have been cut short.", path)
        if claimed >= _UNKNOWN_SAMPLES:
            logger.warning("`%s` does not say how long it is; it has been read to its end.", path)
            return decoder.count(limit)
        if decoder.in_order:
            found = decoder.count(limit)
            if found > limit or claimed - found <= max(4 * 1152, claimed // 100):
                return found
        elif claimed < 1 or len(decoder.read(claimed - 1, 1)):
            return claimed
    finally:
        decoder.close()
    if not decoder.in_order:  # the failed seek has spoilt this decoder
        decoder = _open(path)
        found = decoder.count(limit)
        decoder.close()
        if found > limit:
            return found
    raise _truncated(path, claimed, found)


def _is_protected(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(65536)
    return head[4:8] == b"ftyp" and any(mark in head for mark in _PROTECTED)


def _require_one_stream(path: Path) -> None:
    """Refuses ogg files that were joined end to end: of their streams, which may differ in rate and channels, libsndfile reads the first and drops the rest."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begun = re.search(rb"OggS\x00[^\x02]", data)  # the first page that does not begin a stream
        another = data.find(b"OggS\x00\x02", begun.start()) if begun else -1
    if another >= 0:
        raise UserError(
            f"`{path}` holds several streams one after the other: one is required. Received: another one from byte {another} on. "
            "Join them first, for example with `ffmpeg -i INPUT output.wav`."
        )


def _truncated(path: Path, claimed: int, found: int, unit: str = "samples") -> UserError:
    return UserError(
        f"`{path}` is cut short: its header promises {claimed} {unit}. Received: {found}. Copy or export it again."
    )

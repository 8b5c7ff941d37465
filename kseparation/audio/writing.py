"""Writing of audio files: the file appears under its name when it is complete, and not before."""

import errno
import io
import os
import secrets
from pathlib import Path

import numpy as np
import soundfile

from kseparation.audio.decoding import BLOCK_SAMPLES
from kseparation.errors import KSeparationError, MachineError, UserError, did_you_mean, write_error

# format -> bits -> libsndfile's name. Lossy formats have no bit depth; "16" stands for the default there.
SUBTYPES = {
    "wav": {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"},
    "flac": {"16": "PCM_16", "24": "PCM_24"},
    "ogg": {"16": "VORBIS"},
    "mp3": {"16": "MPEG_LAYER_III"},
}
_MAX_WAV_BYTES = 2**32 - 4096  # sizes in a wav header have 32 bits


def check_output_format(format: str, bits: str, sample_rate: int = 44100, channels: int = 2, samples: int = 0) -> None:
    """Raises UserError when such a file cannot be written: call it before work whose result would be lost.

    Args:
        format: "wav", "flac", "ogg" or "mp3".
        bits: "16", "24" or "32f" (float, wav only); "16" for ogg and mp3.
        sample_rate: in Hz. mp3 knows nine rates up to 48000.
        channels: at most 2 for mp3, 8 for flac.
        samples: length, for the 4 GiB limit of wav; 0 when unknown.

    Example:

    >>> check_output_format("flac", "24")
    """
    if format not in SUBTYPES:
        raise UserError(f"`format` is unknown. Received: format={format!r}. {did_you_mean(format, SUBTYPES)}")
    if bits not in SUBTYPES[format]:
        raise UserError(
            f"`bits` does not fit `format`. Received: bits={bits!r}, format={format!r}. "
            f"{did_you_mean(bits, SUBTYPES[format])}"
        )
    try:
        with soundfile.SoundFile(io.BytesIO(), "w", sample_rate, channels, SUBTYPES[format][bits], format=format):
            pass
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"`format` {format} cannot hold this sound: {error.error_string} "
            f"Received: sample_rate={sample_rate}, channels={channels}. Choose wav."
        ) from None
    _check_wav_size(format, bits, channels, samples)


def quantize(audio: np.ndarray, bits: str) -> np.ndarray:
    """Returns `audio` rounded to the values that an integer format can hold, saturated at full scale.

    Args:
        audio: float32, full scale 1.
        bits: "16" or "24" rounds to the nearest step of 2^-15 or 2^-23; "32f" returns `audio` unchanged.

    Example:

    >>> quantize(np.float32([0.6 / 32768, 2.0]), "16") * 32768
    array([1.0000e+00, 3.2767e+04], dtype=float32)
    """
    if bits == "32f":
        return audio
    scale = np.float32(2 ** (int(bits) - 1))
    return np.clip(np.rint(audio * scale), -scale, scale - 1) / scale


class AudioWriter:
    """Writes a file block by block; a context manager.

    The blocks go to a temporary file in the same folder, which takes the name on a clean exit, replacing a file of
    that name, and is removed on an exception. Integer formats round to the nearest value and saturate at full scale.

    Args:
        path: name of the file; missing folders are created.
        sample_rate: in Hz.
        channels: channels of each block.
        format: "wav", "flac", "ogg" or "mp3". Defaults to "wav".
        bits: "16", "24" or "32f". Defaults to "16".

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "silence.wav"
    >>> with AudioWriter(path, sample_rate=8000, channels=1) as writer:
    ...     writer.write(np.zeros((80, 1), "float32"))
    >>> path.stat().st_size
    204
    """

    def __init__(
        self, path: str | Path, sample_rate: int, channels: int, format: str = "wav", bits: str = "16"
    ) -> None:
        check_output_format(format, bits, sample_rate, channels)
        self.path = Path(path)
        self.channels = channels
        self.samples = 0
        self._format, self._bits, self._sample_rate = format, bits, sample_rate
        self._temporary = self.path.parent / f".tmp-{os.getpid()}-{secrets.token_hex(4)}.{format}"

    def __enter__(self) -> "AudioWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            with open(self._temporary, "xb"):  # an OSError with a reason, where libsndfile says only "System error"
                pass
            subtype = SUBTYPES[self._format][self._bits]
            self._file = soundfile.SoundFile(
                os.fsencode(self._temporary), "w", self._sample_rate, self.channels, subtype, format=self._format
            )
        except (OSError, soundfile.LibsndfileError) as error:
            self._temporary_gone()
            raise _write_error(self.path, error) from None
        return self

    def write(self, block: np.ndarray) -> None:
        """Appends float32 `(n, channels)`."""
        if block.ndim != 2 or block.shape[1] != self.channels:
            raise UserError(f"`block` must have shape (samples, {self.channels}). Received: shape={block.shape}.")
        _check_wav_size(self._format, self._bits, self.channels, self.samples + len(block))
        # libsndfile's vorbis encoder keeps a whole block on the stack, and its own conversion to integers rounds down.
        for start in range(0, len(block), BLOCK_SAMPLES):
            part = block[start : start + BLOCK_SAMPLES].astype(np.float32, copy=False)
            try:
                self._file.write(_as_stored(part, self._format, self._bits))
            except (OSError, soundfile.LibsndfileError) as error:
                raise _write_error(self.path, error) from None
            self.samples += len(part)

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                with open(self._temporary, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self.path)
        except (OSError, soundfile.LibsndfileError) as error:
            if kind is None:
                raise _write_error(self.path, error) from None
        finally:
            self._temporary_gone()

    def _temporary_gone(self) -> None:
        try:
            self._temporary.unlink(missing_ok=True)
        except OSError:  # the folder itself was never there
            pass


def write_audio(path: str | Path, audio: np.ndarray, sample_rate: int, format: str = "wav", bits: str = "16") -> None:
    """Writes float32 `(samples, channels)` as one file, atomically; arguments as for AudioWriter."""
    if audio.ndim != 2:
        raise UserError(f"`audio` must have shape (samples, channels). Received: shape={audio.shape}.")
    with AudioWriter(path, sample_rate, audio.shape[1], format, bits) as writer:
        writer.write(audio)


def _check_wav_size(format: str, bits: str, channels: int, samples: int) -> None:
    if format == "wav" and samples * channels * {"16": 2, "24": 3, "32f": 4}[bits] > _MAX_WAV_BYTES:
        raise UserError(
            f"`format` wav ends at 4 GiB. Received: samples={samples}, channels={channels}, bits={bits!r}. Choose flac."
        )


def _as_stored(audio: np.ndarray, format: str, bits: str) -> np.ndarray:
    if format in ("ogg", "mp3") or bits == "32f":
        return audio
    if bits == "16":
        return (quantize(audio, "16") * 2**15).astype(np.int16)
    return (quantize(audio, "24") * 2**23).astype(np.int32) << 8


def _write_error(path: Path, error: Exception) -> KSeparationError:
    if isinstance(error, soundfile.LibsndfileError):
        return MachineError(f"`{path}` cannot be written: {error.error_string} Is the disk full?")
    return write_error(path, error)

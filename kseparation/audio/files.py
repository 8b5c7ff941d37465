"""Audio files in and out: the one place from which the rest of the package takes them."""

from kseparation.audio.reading import AudioInfo, AudioReader, audio_info, read_audio, require_finite
from kseparation.audio.writing import AudioWriter, check_output_format, quantize, write_audio

__all__ = [
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "audio_info",
    "check_output_format",
    "quantize",
    "read_audio",
    "require_finite",
    "write_audio",
]

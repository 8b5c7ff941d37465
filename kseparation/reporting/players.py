"""Sound that a page carries within itself."""

import base64
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseparation.audio.writing import write_audio
from kseparation.reporting.report_data import Excerpt

# The rates that MP3 knows; every browser plays it. Other rates travel as Ogg Vorbis.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MIXTURE = "mixture"


@dataclass(frozen=True)
class SongPlayers:
    """The sounds of one excerpt as data URIs, all turned down by the same factor where one of them would clip.

    Args:
        track: name of the song.
        start_seconds: where the excerpt begins.
        seconds: its length.
        mixture: the input.
        estimates: the model's stems by name.
        references: the true stems by name.
    """

    track: str
    start_seconds: float
    seconds: float
    mixture: str
    estimates: Mapping[str, str]
    references: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """Returns what the sounds add to the page."""
        return sum(map(len, [self.mixture, *self.estimates.values(), *self.references.values()]))


def song_players(excerpt: Excerpt) -> SongPlayers:
    """Encodes the sounds of an excerpt."""
    signals = [excerpt.mixture, *excerpt.estimates.values(), *excerpt.references.values()]
    gain = 1.0 / max(1.0, *(float(np.max(np.abs(audio), initial=0.0)) for audio in signals))

    def uri(audio: np.ndarray) -> str:
        return audio_uri(audio * np.float32(gain), excerpt.sample_rate)

    # Encoding is the slowest part of a page, and libsndfile does it side by side.
    with ThreadPoolExecutor(max_workers=4) as pool:
        mixture, *stems = pool.map(uri, signals)
    count = len(excerpt.estimates)
    return SongPlayers(
        track=excerpt.track,
        start_seconds=excerpt.start_seconds,
        seconds=len(excerpt.mixture) / excerpt.sample_rate,
        mixture=mixture,
        estimates=dict(zip(excerpt.estimates, stems[:count], strict=True)),
        references=dict(zip(excerpt.references, stems[count:], strict=True)),
    )


def audio_uri(audio: np.ndarray, sample_rate: int) -> str:
    """Encodes `(samples, channels)` as MP3 or Ogg Vorbis in a data URI; more than two channels are averaged to one."""
    audio = np.asarray(audio, np.float32)
    if audio.shape[1] > 2:
        audio = audio.mean(axis=1, keepdims=True)
    format, kind = ("mp3", "audio/mpeg") if sample_rate in MP3_RATES else ("ogg", "audio/ogg")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"sound.{format}"
        write_audio(file, audio, sample_rate, format=format)
        return data_uri(file.read_bytes(), kind)


def data_uri(content: bytes, kind: str) -> str:
    """Returns bytes as a data URI of the media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"

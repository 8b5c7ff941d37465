"""Small songs on the disk: seeded noise, a file for each stem."""

from pathlib import Path

import numpy as np

from kseparation.audio.writing import write_audio

STEMS = ("vocals", "drums")
SAMPLE_RATE = 8000


def write_songs(root: Path, splits: dict[str, dict[str, int]], stems=STEMS, channels: int = 2) -> Path:
    """Writes `root/<split>/<song>/<stem>.wav` in 16 bits; `splits` gives the number of samples of each song."""
    draw = np.random.default_rng(0)
    for split, songs in splits.items():
        for song, samples in songs.items():
            (root / split / song).mkdir(parents=True)
            for stem in stems:
                audio = draw.uniform(-0.4, 0.4, (samples, channels)).astype("float32")
                write_audio(root / split / song / f"{stem}.wav", audio, SAMPLE_RATE)
    return root

"""A stand-in model, inputs and runs for the tests of `separate`."""

import numpy as np

from kseparation.audio.files import read_audio, write_audio
from kseparation.workflows.separate import separate
from kseparation.workflows.separate_plan import SeparateSettings

SHARES = {"vocals": 0.5, "drums": 0.3, "bass": 0.1}  # a tenth is missing


class Shares:
    """Gives each stem a fixed share of the mixture."""

    def __init__(self, shares=SHARES, channels=2, sample_rate=8000, segment_samples=2000):
        self.shares, self.channels = shares, channels
        self.sample_rate, self.segment_samples = sample_rate, segment_samples
        self.stems, self.calls = tuple(shares), 0

    def predict_segments(self, batch):
        self.calls += 1
        return np.stack([np.float32(share) * batch for share in self.shares.values()], axis=1)


def noise(samples, channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (samples, channels)).astype(np.float32)


def song(folder, name="song.wav", samples=9000, channels=2, rate=8000, seed=0, scale=1.0):
    write_audio(folder / name, noise(samples, channels, seed) * scale, rate, bits="32f")
    return folder / name


def run(inputs, out, model=None, **settings):
    return separate(inputs, model or Shares(), SeparateSettings(out=out, **settings), "demo", "abc123")


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def stem(out, name, track="song", ext="wav"):
    return read_audio(out / "demo" / track / f"{name}.{ext}")[0]

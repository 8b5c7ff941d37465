"""What is odd about a sound, found while it passes."""

import hashlib

import numpy as np

from kseparation.audio.reading import AudioInfo

# Peaks that music has. What lies beyond, 18 dB above full scale or 80 dB below, a network has never heard.
PEAKS_OF_MUSIC = (1e-4, 8.0)
# A constant that makes up a quarter of the power is no music, unless it is a piece of a low note.
CONSTANT_SHARE = 0.25
LEAST_SECONDS = 0.1
_FLAC_BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
# Within the first metadata block: the MD5 sum of the samples, zeros where the writer made none.
_FLAC_DIGEST = slice(26, 42)


def scale_to_music(peak: float) -> float:
    """Returns the factor by which a sound of this peak is brought to full scale, 1 where it needs none.

    Example:

    >>> scale_to_music(0.5), scale_to_music(1e6), scale_to_music(0.0)
    (1.0, 1e-06, 1.0)
    """
    low, high = PEAKS_OF_MUSIC
    return 1.0 if peak == 0 or low <= peak <= high else 1.0 / peak


class SoundCheck:
    """Collects what a listener should be told about a file that could be read.

    Args:
        info: of the file.
    """

    def __init__(self, info: AudioInfo):
        self.peak = 0.0
        self._samples, self._sample_rate = 0, info.sample_rate
        self._sum, self._power = np.zeros(info.channels), np.zeros(info.channels)
        self._bits = _FLAC_BITS.get(info.subtype) if info.format == "FLAC" else None
        self._expected = None
        if self._bits:
            with open(info.path, "rb") as file:
                head = file.read(_FLAC_DIGEST.stop)
            self._expected = head[_FLAC_DIGEST] if head.startswith(b"fLaC") and any(head[_FLAC_DIGEST]) else None
        self._digest = hashlib.md5(usedforsecurity=False) if self._expected else None

    def update(self, block: np.ndarray) -> None:
        """Takes in the next samples, float32 `(samples, channels)`."""
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        self._samples += len(block)
        self._sum += block.sum(axis=0, dtype="float64")
        self._power += np.square(block, dtype="float64").sum(axis=0)
        if self._digest is not None:
            # float32 holds 24 bits, so the integers of the file come back as they were.
            values = np.rint(block * np.float32(2 ** (self._bits - 1))).astype("<i4")
            self._digest.update(np.ascontiguousarray(values).view("u1").reshape(-1, 4)[:, : self._bits // 8].tobytes())

    def warnings(self) -> list[str]:
        """Returns a sentence for each oddity, when all has passed."""
        found = []
        scaled = "" if scale_to_music(self.peak) == 1 else "; it was separated at full scale and scaled back"
        if self.peak > 1:
            found.append(f"the input exceeds full scale: peak {self.peak:.4g}{scaled}")
        elif self.peak == 0:
            found.append("the input is silent")
        elif scaled:
            found.append(f"the input is nearly silent: peak {self.peak:.4g}{scaled}")
        means = self._sum / max(self._samples, 1)
        for channel in np.flatnonzero(np.square(means) * self._samples > CONSTANT_SHARE * self._power):
            if self._samples > LEAST_SECONDS * self._sample_rate:
                found.append(f"channel {channel} of the input is off zero by {means[channel]:.4g}")
        if self._digest is not None and self._digest.digest() != self._expected:
            found.append("the sound of the input is not what its MD5 sum says: it may be damaged")
        return found

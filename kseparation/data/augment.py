"""Changes to training examples. Each edits the plan of an example, never its audio, so that a plan tells all that was done.

To add one: a class here with `__call__(choices, draw, songs, segment_samples)`, a line in `AUGMENTATIONS`, a row in `tests/tiny.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kseparation.audio.track import Track
from kseparation.errors import UserError


@dataclass(frozen=True)
class StemChoice:
    """Where one stem of one training example comes from and what is done to it.

    Args:
        stem: its name.
        track: index of the song.
        start: first sample.
        gain: factor; 0 silences the stem, a negative one flips its polarity.
        swap_channels: whether left and right change places.
        speed: the recording runs so many times faster, which also raises its pitch.
        tilt_db: treble is raised and bass lowered by so many dB per octave about 1 kHz.
    """

    stem: str
    track: int
    start: int
    gain: float = 1.0
    swap_channels: bool = False
    speed: float = 1.0
    tilt_db: float = 0.0


def _check_probability(name, probability):
    if not 0 <= probability <= 1:
        raise UserError(f"`{name}` must lie between 0 and 1. Received: {name}={probability}")


def draw_start(track: Track, segment_samples: int, draw: np.random.Generator) -> int:
    """Returns the first sample of a random segment inside a song; 0 where the song is shorter."""
    return int(draw.integers(0, max(track.samples - segment_samples, 0) + 1))


def samples_read(segment_samples: int, speed: float, sample_rate: int) -> int:
    """Returns how much of a song a segment takes that is played `speed` times as fast."""
    # The rate to resample from is a whole number, so the length follows from it and not from the speed.
    return segment_samples if speed == 1.0 else math.ceil(segment_samples * round(sample_rate * speed) / sample_rate) + 1


class Remix:
    """Takes each stem from a song of its own: endless new songs, without harmony between the stems.

    Args:
        probability: share of examples that are remixed, 0 to 1.
    """

    def __init__(self, probability: float = 0.5):
        _check_probability("probability", probability)
        self.probability = probability

    def __call__(self, choices: Sequence[StemChoice], draw: np.random.Generator, songs: Sequence[Track], segment_samples: int):
        if draw.random() >= self.probability:
            return list(choices)
        remixed = []
        for choice in choices:
            track = int(draw.integers(len(songs)))
            remixed.append(replace(choice, track=track, start=draw_start(songs[track], samples_read(segment_samples, choice.speed, songs[track].sample_rate), draw)))
        return remixed


class Gain:
    """Makes each stem louder or softer by a factor of its own.

    Args:
        low: smallest factor, above 0.
        high: largest factor; the logarithm of the factor is uniform.
    """

    def __init__(self, low: float = 0.7, high: float = 1.3):
        if not 0 < low <= high:
            raise UserError(f"`low` must be above 0 and at most `high`. Received: low={low}, high={high}")
        self.low, self.high = low, high

    def __call__(self, choices: Sequence[StemChoice], draw: np.random.Generator, songs: Sequence[Track], segment_samples: int):
        factors = np.exp(draw.uniform(np.log(self.low), np.log(self.high), len(choices)))
        return [replace(choice, gain=choice.gain * float(factor)) for choice, factor in zip(choices, factors, strict=True)]


class _Flip:
    def __init__(self, probability: float = 0.5):
        _check_probability("probability", probability)
        self.probability = probability

    def __call__(self, choices: Sequence[StemChoice], draw: np.random.Generator, songs: Sequence[Track], segment_samples: int):
        flips = draw.random(len(choices)) < self.probability
        return [self._change(choice) if flip else choice for choice, flip in zip(choices, flips, strict=True)]


class Polarity(_Flip):
    """Turns the wave of a stem upside down.

    Args:
        probability: share of the stems, 0 to 1.
    """

    @staticmethod
    def _change(choice):
        return replace(choice, gain=-choice.gain)


class ChannelSwap(_Flip):
    """Swaps left and right of a stem; does nothing to mono.

    Args:
        probability: share of the stems, 0 to 1.
    """

    @staticmethod
    def _change(choice):
        return replace(choice, swap_channels=not choice.swap_channels)


class SilentStem(_Flip):
    """Leaves a stem out, so that the model learns to give silence.

    Args:
        probability: share of the stems, 0 to 1.
    """

    def __init__(self, probability: float = 0.1):
        super().__init__(probability)

    @staticmethod
    def _change(choice):
        return replace(choice, gain=0.0)


class Speed:
    """Plays a stem faster or slower, pitch included, as a tape would: voices and instruments that no song of the set has.

    Stems that come from the same place of the same song keep together.

    Args:
        low: smallest factor, above 0; 0.89 is two semitones down.
        high: largest factor; the logarithm of the factor is uniform.
    """

    def __init__(self, low: float = 0.84, high: float = 1.19):
        if not 0 < low <= high:
            raise UserError(f"`low` must be above 0 and at most `high`. Received: low={low}, high={high}")
        self.low, self.high = low, high

    def __call__(self, choices: Sequence[StemChoice], draw: np.random.Generator, songs: Sequence[Track], segment_samples: int):
        factors = np.exp(draw.uniform(np.log(self.low), np.log(self.high), len(choices)))
        places = [(choice.track, choice.start) for choice in choices]
        return [self._at(choice, choice.speed * float(factors[places.index(place)]), songs, segment_samples) for choice, place in zip(choices, places, strict=True)]

    @staticmethod
    def _at(choice, speed, songs, segment_samples):
        # A faster stem needs more of the song, which begins earlier where it would run out.
        song = songs[choice.track]
        latest = song.samples - samples_read(segment_samples, speed, song.sample_rate)
        return replace(choice, speed=speed, start=max(0, min(choice.start, latest)))


class Tilt:
    """Makes each stem brighter or darker by a straight slope over frequency.

    Args:
        most_db: largest slope in dB per octave, either way.
    """

    def __init__(self, most_db: float = 2.0):
        if most_db < 0:
            raise UserError(f"`most_db` must not be negative. Received: most_db={most_db}")
        self.most_db = most_db

    def __call__(self, choices: Sequence[StemChoice], draw: np.random.Generator, songs: Sequence[Track], segment_samples: int):
        slopes = draw.uniform(-self.most_db, self.most_db, len(choices))
        return [replace(choice, tilt_db=choice.tilt_db + float(slope)) for choice, slope in zip(choices, slopes, strict=True)]


AUGMENTATIONS = {
    "remix": Remix,
    "gain": Gain,
    "polarity": Polarity,
    "channel_swap": ChannelSwap,
    "silent_stem": SilentStem,
    "speed": Speed,
    "tilt": Tilt,
}

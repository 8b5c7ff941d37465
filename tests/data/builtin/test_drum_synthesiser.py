"""Every piece of every synthesised kit sounds, where it belongs in the spectrum."""

import numpy as np
import pytest

from kseparation.data.builtin.drum_synthesiser import KITS, SAMPLE_RATE, play_synth_kit
from kseparation.data.builtin.instruments import DRUM_KEYS
from kseparation.data.builtin.score import DrumHit


def centroid_hz(audio: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(audio[:, 0])) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)) / power.sum())


@pytest.mark.parametrize("family", KITS)
def test_every_piece_sounds_at_its_time(family: str) -> None:
    for piece in DRUM_KEYS:
        audio = play_synth_kit(family, [DrumHit(0.1, piece, 100)], SAMPLE_RATE // 2, np.random.default_rng(0))
        assert not audio[: int(0.1 * SAMPLE_RATE)].any()
        assert 0.005 < np.abs(audio).max() < 2.0


@pytest.mark.parametrize("family", KITS)
def test_kick_is_low_and_hat_is_high(family: str) -> None:
    rng = np.random.default_rng(0)
    pieces = [
        centroid_hz(play_synth_kit(family, [DrumHit(0.0, piece, 100)], 20000, rng))
        for piece in ("kick", "snare", "closed_hat")
    ]
    assert pieces[0] < 1500.0 < pieces[1] < pieces[2]
    assert pieces[2] > 5000.0


def test_hits_at_the_end_are_cut() -> None:
    assert play_synth_kit("big", [DrumHit(0.02, "crash", 100)], 1000, np.random.default_rng(0)).shape == (1000, 2)

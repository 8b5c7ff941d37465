"""Levels, and the exact sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseparation.data.builtin import mixing
from kseparation.data.builtin.effects import active_rms
from kseparation.data.builtin.form import STEMS


def noise_stems(seed: int, samples: int = 4410) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {stem: rng.normal(0.0, rng.uniform(1e-4, 10.0), (samples, 2)).astype(np.float32) for stem in STEMS}


@given(st.integers(0, 1000))
def test_the_mixture_is_the_integer_sum_and_peaks_at_092(seed: int) -> None:
    mixture, stems = mixing.mix(noise_stems(seed), np.random.default_rng(seed))
    assert mixture.dtype == np.int16
    np.testing.assert_array_equal(mixture.astype(np.int64), sum(audio.astype(np.int64) for audio in stems.values()))
    peak = max(np.abs(audio.astype(int)).max() for audio in (mixture, *stems.values()))
    assert 0.91 * 32768 < peak <= 0.92 * 32768


def test_every_stem_lies_near_a_usual_balance() -> None:
    levels = []
    for seed in range(20):
        _, stems = mixing.mix(noise_stems(seed, 44100), np.random.default_rng(seed))
        levels.append([20 * np.log10(active_rms(stems[stem].astype(np.float32))) for stem in STEMS])
    relative = np.array(levels) - np.mean(levels, axis=1, keepdims=True)
    assert np.abs(relative - relative.mean(axis=0)).max() <= 6.0
    assert np.ptp(relative.mean(axis=0)) < 4.0


def test_silent_stems_stay_silent() -> None:
    stems = noise_stems(0) | {"vocals": np.zeros((4410, 2), np.float32)}
    assert not mixing.mix(stems, np.random.default_rng(0))[1]["vocals"].any()
    silence = {stem: np.zeros((10, 2), np.float32) for stem in STEMS}
    assert not mixing.mix(silence, np.random.default_rng(0))[0].any()


@pytest.mark.parametrize("role", ["pad", "comp", "arpeggio", "riff", "power", "stabs", "counter"])
def test_parts_stay_finite_and_keep_their_length(role: str) -> None:
    audio = noise_stems(1)["other"]
    for seed in range(4):
        out = mixing.produce_part(audio, role, np.random.default_rng(seed), 120.0)
        assert out.shape == audio.shape
        assert np.isfinite(out).all() and np.abs(out).max() > 0


def test_drums_bass_and_vocals_stay_finite_and_bass_is_nearly_mono() -> None:
    audio = noise_stems(2)["drums"]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        bass = mixing.produce_bass(audio, rng)
        voice = mixing.produce_vocals(audio[:, 0], [audio[:, 1]], rng, 100.0)
        for out in (mixing.produce_drums(audio, rng), bass, voice, mixing.room(audio, rng)):
            assert out.shape == audio.shape
            assert np.isfinite(out).all() and np.abs(out).max() > 0
        assert np.corrcoef(bass.T)[0, 1] > 0.8

from fractions import Fraction

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from kseparation.audio.resampling import StreamResampler, resample, resampled_length
from kseparation.errors import UserError

RATES = st.sampled_from([8000, 11025, 16000, 22050, 44099, 44100, 48000, 96000])


@given(samples=st.integers(1, 10**9), from_rate=RATES, to_rate=RATES)
def test_length_is_the_exact_ratio_rounded_half_up(samples, from_rate, to_rate):
    exact = Fraction(samples * to_rate, from_rate)
    assert resampled_length(samples, from_rate, to_rate) == max(1, int(exact + Fraction(1, 2)))


def test_nothing_stays_nothing():
    assert resampled_length(0, 44100, 16000) == 0
    assert resample(np.zeros((0, 2), np.float32), 44100, 16000).shape == (0, 2)


@given(samples=st.integers(1, 3000), block=st.integers(1, 1000), from_rate=RATES, to_rate=RATES)
def test_blocks_joined_equal_the_whole_and_have_the_exact_length(samples, block, from_rate, to_rate):
    audio = np.random.default_rng(samples).standard_normal((samples, 2)).astype(np.float32)
    whole = resample(audio, from_rate, to_rate)
    stream = StreamResampler(from_rate, to_rate, 2)
    parts = [stream.process(audio[i : i + block]) for i in range(0, samples, block)] + [stream.finish()]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    assert len(whole) == stream.given == resampled_length(samples, from_rate, to_rate)
    assert whole.dtype == np.float32


def test_equal_rates_change_nothing():
    audio = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    np.testing.assert_array_equal(resample(audio, 44100, 44100), audio)


@pytest.mark.parametrize("from_rate, to_rate", [(44100, 48000), (96000, 44100), (8000, 44100)])
def test_a_sine_stays_that_sine_at_its_time(from_rate, to_rate):
    def sine(rate):
        return np.sin(2 * np.pi * 440 * np.arange(rate) / rate)[:, None].astype(np.float32)

    out = resample(sine(from_rate), from_rate, to_rate)
    inner = slice(to_rate // 10, -to_rate // 10)
    np.testing.assert_allclose(out[inner], sine(to_rate)[inner], atol=1e-4)


def test_the_whole_is_soxrs_own_result():
    audio = np.random.default_rng(0).standard_normal((5000, 2)).astype(np.float32)
    expected = soxr.resample(audio, 44100, 16000)
    np.testing.assert_allclose(resample(audio, 44100, 16000)[: len(expected)], expected, atol=1e-6)


def test_a_total_known_from_elsewhere_is_met():
    audio = np.ones((1000, 1), np.float32)
    for total in (2175, 2177, 2180):
        stream = StreamResampler(44100, 96000, 1)
        assert len(stream.process(audio)) + len(stream.finish(total)) == total


@pytest.mark.parametrize("rates", [(0, 44100), (44100, -1)])
def test_rates_must_be_positive(rates):
    with pytest.raises(UserError, match="Sample rates must be positive. Received: from_rate="):
        resample(np.zeros((5, 1), np.float32), *rates)


def test_less_than_what_came_out_is_refused():
    stream = StreamResampler(44100, 44100, 1)
    stream.process(np.zeros((10, 1), np.float32))
    with pytest.raises(UserError, match="must not be less than what came out before, 10. Received: 5"):
        stream.finish(5)

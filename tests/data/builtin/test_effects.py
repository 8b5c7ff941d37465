"""Effects do to a sound what they say, measured on sines, clicks and noise."""

import numpy as np
import pytest

from kseparation.data.builtin import effects
from kseparation.data.builtin.effects import SAMPLE_RATE


def stereo(mono: np.ndarray) -> np.ndarray:
    return np.repeat(mono[:, None], 2, axis=1).astype(np.float32)


def sine(frequency: float, seconds: float = 0.5) -> np.ndarray:
    return stereo(0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE))


def gain_db(before: np.ndarray, after: np.ndarray) -> float:
    half = len(before) // 2
    return 20 * np.log10(np.sqrt(np.mean(after[half:] ** 2)) / np.sqrt(np.mean(before[half:] ** 2)))


@pytest.mark.parametrize(
    ("band", "frequency", "expected_db"),
    [
        (("peak", 1000.0, 6.0), 1000.0, 6.0),
        (("peak", 1000.0, -9.0), 1000.0, -9.0),
        (("peak", 1000.0, 6.0), 50.0, 0.0),
        (("low_shelf", 1000.0, 6.0), 50.0, 6.0),
        (("low_shelf", 1000.0, 6.0), 12000.0, 0.0),
        (("high_shelf", 1000.0, -6.0), 15000.0, -6.0),
        (("high_shelf", 1000.0, -6.0), 50.0, 0.0),
        (("high_pass", 1000.0, 0.0), 1000.0, -3.01),
        (("low_pass", 1000.0, 0.0), 1000.0, -3.01),
        (("low_pass", 1000.0, 0.0), 100.0, 0.0),
    ],
)
def test_equaliser_has_the_gain_of_the_cookbook(band: tuple, frequency: float, expected_db: float) -> None:
    tone = sine(frequency)
    assert gain_db(tone, effects.equalise(tone, band)) == pytest.approx(expected_db, abs=0.15)


def test_compressor_turns_down_what_is_loud_and_leaves_what_is_quiet() -> None:
    loud, quiet = sine(500.0), 0.02 * sine(500.0)
    out = effects.compress(np.concatenate([loud, quiet]), above_rms_db=0.0, ratio=4.0)
    # The peak of the loud half lies 20 log10(0.3 / rms) above the threshold; three quarters of it are taken away.
    rms = np.sqrt(np.mean(np.concatenate([loud, quiet]) ** 2))
    assert gain_db(loud, out[: len(loud)]) == pytest.approx(-0.75 * 20 * np.log10(0.3 / rms), abs=0.3)
    assert gain_db(quiet, out[len(loud) :]) == pytest.approx(0.0, abs=0.3)


def test_room_falls_by_60_db_in_its_time_and_has_no_direct_sound() -> None:
    click = np.zeros((SAMPLE_RATE, 2), np.float32)
    click[0] = 1.0
    answer = effects.room(click, np.random.default_rng(0), 0.5)
    assert np.abs(answer[:100]).max() < 1e-3
    assert np.sum(answer.astype(np.float64) ** 2, axis=0) == pytest.approx(1.0, abs=0.02)
    early, late = (np.sqrt(np.mean(answer[start : start + 2000] ** 2)) for start in (4000, 15025))
    assert 20 * np.log10(late / early) == pytest.approx(-30.0, abs=3.0)  # half of the time later


def test_reverberate_without_wet_is_dry() -> None:
    tone = sine(440.0)
    np.testing.assert_array_equal(effects.reverberate(tone, np.random.default_rng(0), 0.3, 0.0), tone)


def test_echo_repeats_on_alternating_sides() -> None:
    click = np.zeros((SAMPLE_RATE, 2), np.float32)
    click[0, 0] = 1.0
    out = effects.echo(click, 0.1, 0.5, 0.4)
    assert [(int(row), int(column)) for row, column in np.argwhere(out)] == [
        (0, 0),
        (4410, 1),
        (8820, 0),
        (13230, 1),
        (17640, 0),
    ]
    assert out[4410, 1] == pytest.approx(0.4)
    assert out[8820, 0] == pytest.approx(0.2)


def test_drive_keeps_the_rms_and_adds_harmonics() -> None:
    tone = sine(500.0)
    bent = effects.drive(tone, 8.0)
    assert gain_db(tone, bent) == pytest.approx(0.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(bent[:, 0]))
    assert spectrum[750] > 0.05 * spectrum[250]  # 1500 Hz against 500 Hz


def test_silence_stays_silent() -> None:
    silence = np.zeros((3000, 2), np.float32)
    assert not effects.drive(silence, 5.0).any()
    assert not effects.compress(silence, 3.0, 4.0).any()
    assert effects.active_rms(silence) == 0.0


@pytest.mark.parametrize("place", [-1.0, -0.3, 0.0, 0.8])
def test_pan_keeps_the_power(place: float) -> None:
    tone = sine(300.0)
    panned = effects.pan(tone, place)
    assert np.sum(panned**2) == pytest.approx(np.sum(tone**2), rel=1e-4)
    assert np.sign(np.sum(panned[:, 1] ** 2) - np.sum(panned[:, 0] ** 2)).astype(int) == np.sign(place)


def test_width_scales_the_difference_of_the_sides() -> None:
    audio = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    narrow = effects.widen(audio, 0.5)
    np.testing.assert_allclose(narrow[:, 0] - narrow[:, 1], 0.5 * (audio[:, 0] - audio[:, 1]), atol=1e-6)
    np.testing.assert_allclose(narrow.sum(axis=1), audio.sum(axis=1), atol=1e-6)


def test_chorus_delays_left_and_right_oppositely() -> None:
    out = effects.chorus(sine(440.0), 1.0, 0.003, 0.5)
    assert out.shape == sine(440.0).shape
    assert np.abs(out[:, 0] - out[:, 1]).max() > 0.05


def test_active_rms_ignores_pauses() -> None:
    tone = sine(441.0, 1.0)
    assert effects.active_rms(np.concatenate([tone, np.zeros_like(tone)])) == pytest.approx(0.3 / np.sqrt(2), rel=1e-3)

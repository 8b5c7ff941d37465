"""What the figures show, read back from their axes."""

import io
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseparation.reporting.palette import DARK, LIGHT
from kseparation.reporting.plots import curve_figure, curve_names, encode_figure, score_figure, spectrogram_figure

HISTORY = [
    {"kind": "train", "step": 10, "epoch": 0, "loss": 100.0, "l1": 1.0, "lr": 1e-3, "grad_norm": 2.0, "seconds": 1.0},
    {"kind": "fault", "step": 15},
    {"kind": "train", "step": 20, "epoch": 0, "loss": 1.0, "l1": None, "lr": 1e-3, "grad_norm": 2.0, "seconds": 2.0},
    {"kind": "validation", "step": 20, "epoch": 0, "loss": 3.0, "l1": 0.9, "sdr_segments": -2.0},
]


def summary(songs=((1.0, -3.0), (2.0, -60.0)), fitted=True):
    per_track = [{"stems": {"vocals": {"sdr_global": a}, "bass": {"sdr_global": b}}} for a, b in songs]
    trivial = {
        "zeros": {"vocals": 0.0, "bass": 0.0},
        "constant_mask": {"vocals": 1.5, "bass": -1.0} if fitted else None,
    }
    return {"stems": {"vocals": {}, "bass": {}}, "per_track": per_track, "trivial": trivial}


def lines(figure, label):
    return [line for line in figure.axes[0].get_lines() if line.get_label() == label]


def test_curve_names_are_the_loss_its_parts_and_then_the_rest():
    assert curve_names(HISTORY) == ["loss", "l1", "sdr_segments", "grad_norm", "lr"]
    assert curve_names([]) == []


def test_a_part_that_is_the_whole_loss_is_not_drawn_twice():
    assert curve_names([{"kind": "train", "step": 1, "loss": 2.0, "l1": 2.0}]) == ["loss"]


def test_a_long_curve_has_its_running_mean():
    values = np.arange(100) % 2.0 + 1.0
    figure = curve_figure([{"kind": "train", "step": step, "loss": value} for step, value in enumerate(values, start=1)], "loss")
    raw, mean = figure.axes[0].get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), values)
    assert mean.get_label() == "training, mean of 5"
    np.testing.assert_array_equal(mean.get_xdata(), np.arange(1, 101))
    np.testing.assert_allclose(mean.get_ydata()[[0, 1, 50, 99]], [4 / 3, 1.5, 1.4, 5 / 3])

def test_a_curve_shows_training_validation_and_faults():
    figure = curve_figure(HISTORY, "loss")
    np.testing.assert_array_equal(lines(figure, "training")[0].get_xydata(), [[10, 100], [20, 1]])
    np.testing.assert_array_equal(lines(figure, "validation")[0].get_xydata(), [[20, 3]])
    assert [line.get_xdata()[0] for line in lines(figure, "fault")] == [15]
    assert figure.axes[0].get_xlabel() == "training step"
    assert figure.axes[0].get_yscale() == "log"


def test_a_curve_leaves_out_missing_values_and_decibels_are_never_logarithmic():
    assert lines(curve_figure(HISTORY, "l1"), "training")[0].get_xdata() == [10]
    rows = [{"kind": "validation", "step": step, "sdr_segments": value} for step, value in ((1, 0.01), (2, 9.0))]
    axes = curve_figure(rows, "sdr_segments").axes[0]
    assert (axes.get_yscale(), axes.get_title(loc="left")) == ("linear", "SDR of validation segments in dB")


def test_scores_show_songs_and_predictors_of_each_stem():
    figure = score_figure(summary())
    songs = [line.get_xydata().tolist() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert songs == [[[1.0, 0], [2.0, 0]], [[-3.0, -1], [-60.0, -1]]]
    # The boxes: a median across each, from its lower to its upper end.
    medians = [line.get_xydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2 and np.ptp(line.get_ydata()) == 0.5 and np.ptp(line.get_xdata()) == 0]
    assert [(line[0, 0], line[:, 1].mean()) for line in medians] == [(1.5, 0.0), (-31.5, -1.0)]
    boxes = [line.get_xydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 5]
    assert [(box[:, 0].min(), box[:, 0].max()) for box in boxes] == [(1.25, 1.75), (-45.75, -17.25)]
    assert lines(figure, "constant mask")[0].get_xydata().tolist() == [[1.5, 0], [-1.0, -1]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["vocals", "bass"]


def test_the_oldest_matplotlib_allowed_has_horizontal_box_plots():
    """The `orientation` of `boxplot` came with 3.10."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (oldest,) = (line.partition(">=")[2] for line in project["dependencies"] if line.startswith("matplotlib"))
    assert tuple(map(int, oldest.split("."))) >= (3, 10)


def test_scores_far_below_zero_do_not_set_the_axis_and_are_mentioned():
    axes = score_figure(summary()).axes[0]
    assert axes.get_xlim()[0] == -20
    assert axes.get_title(loc="right") == "values below -20 dB lie outside"
    assert score_figure(summary(songs=((1.0, 2.0),))).axes[0].get_title(loc="right") == ""


def test_scores_without_fitted_predictors_or_finite_songs_can_be_drawn():
    figure = score_figure(summary(songs=((None, 1.0),), fitted=False))
    assert lines(figure, "constant mask") == []
    assert len(encode_figure(figure)) > 1000


@pytest.mark.parametrize("hertz", [110.0, 1000.0, 9000.0])
def test_a_tone_lies_at_its_frequency_on_the_axis(hertz):
    rate, seconds = 44100, 2.0
    tone = np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)[:, None]
    figure = spectrogram_figure({"tone": tone, "quiet": 0.01 * tone}, rate)
    axes = figure.axes[0]
    image = axes.get_images()[0]
    bottom, top = image.get_extent()[2:]
    assert axes.get_xlim() == (0, seconds)
    levels = image.get_array()
    height = bottom + (np.argmax(levels.mean(axis=1)) + 0.5) * (top - bottom) / len(levels)
    ticks = {float(label.get_text()) * 1000: place for place, label in zip(axes.get_yticks(), axes.get_yticklabels())}
    found = np.exp(np.interp(height, list(ticks.values()), np.log(list(ticks))))
    # A bin is 21.5 Hz wide, and a band 4 %.
    assert found == pytest.approx(hertz, abs=22 + 0.05 * hertz)
    assert levels.max() == 0
    assert figure.axes[1].get_images()[0].get_array().max() == pytest.approx(-40, abs=0.1)
    assert (axes.get_ylabel(), figure.axes[1].get_xlabel()) == ("kHz", "seconds")


def test_a_click_lies_at_its_time_on_the_axis():
    click = np.zeros((3 * 8000, 1))
    click[2 * 8000] = 1.0
    image = spectrogram_figure({"click": click}, 8000).axes[0].get_images()[0]
    left, right = image.get_extent()[:2]
    levels = image.get_array()
    found = left + (np.argmax(levels.mean(axis=0)) + 0.5) * (right - left) / levels.shape[1]
    assert found == pytest.approx(2.0, abs=1024 / 8000 / 2)


@pytest.mark.parametrize("samples", [1, 3, 5000])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_silence_and_very_short_sounds_can_be_drawn(samples, rate):
    figure = spectrogram_figure({"silence": np.zeros((samples, 2), np.float32)}, rate)
    assert np.isfinite(figure.axes[0].get_images()[0].get_array()).all()


@pytest.mark.parametrize(("format", "palette"), [("png", LIGHT), ("webp", DARK)])
def test_an_encoded_figure_is_a_picture_in_the_colour_of_the_page(format, palette):
    picture = Image.open(io.BytesIO(encode_figure(curve_figure(HISTORY, "loss", palette), format)))
    assert picture.format == format.upper()
    assert picture.width == round(4.8 * 160)
    expected = [int(palette.background[i : i + 2], 16) for i in (1, 3, 5)]
    np.testing.assert_allclose(picture.convert("RGB").getpixel((2, 2)), expected, atol=3)

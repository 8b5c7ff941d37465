"""Figures of a training and of an evaluation, drawn without a display and without matplotlib's global state."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import mlab
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kseparation.reporting.palette import LIGHT, Palette
from kseparation.reporting.score_table import TRIVIAL_TITLES

# Small enough that a phone shows the lettering at nearly its own size.
WIDTH_INCHES = 4.8
DOTS_PER_INCH = 160
FLOOR_DB = -80.0
LOWEST_SDR_DB = -20.0
_NOT_CURVES = ("kind", "step", "epoch", "seconds", "skipped_steps")
_MARKERS = {"zeros": "s", "mixture": "X", "constant_gain": "^", "constant_mask": "D"}
_TITLES = {"sdr_segments": "SDR of validation segments in dB", "grad_norm": "gradient norm", "lr": "learning rate"}
_WINDOW_SAMPLES = 2048
_HOP_SAMPLES = 1024
_BANDS = 140
_LOWEST_HZ = 50.0
_LONG = 60
_TICKS_HZ = (100, 300, 1000, 3000, 10_000)


def curve_names(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what can be plotted over the steps: the loss, its parts unless one is the whole of it, then scores, gradient norm and learning rate."""
    rows = [row for row in history if row.get("kind") in ("train", "validation") and "step" in row]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value) and name not in _NOT_CURVES)
    parts = [name for name in names if name not in ("loss", *_TITLES)]
    parts = [name for name in parts if any(name in row and row[name] != row.get("loss") for row in rows)]
    return [name for name in ["loss", *parts, *_TITLES] if name in names]


def curve_figure(history: Sequence[Mapping[str, Any]], name: str, palette: Palette = LIGHT) -> Figure:
    """Draws one value over the training steps: training as a line, with its running mean where it is long; validation as points; faults as dashes.

    Args:
        history: rows of `metrics.jsonl`.
        name: key in the rows, one of `curve_names`.
        palette: colours.
    """
    figure, axes = _figure(2.9, palette)
    labels = {"train": ("training", palette.model), "validation": ("validation", palette.validation)}
    lowest, highest = np.inf, -np.inf
    for kind, (label, colour) in labels.items():
        rows = [row for row in history if row.get("kind") == kind and _is_number(row.get(name))]
        if not rows:
            continue
        steps, values = [row["step"] for row in rows], np.array([row[name] for row in rows], float)
        marker = "o" if kind == "validation" or len(rows) == 1 else None
        if kind == "train" and len(rows) >= _LONG:
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
            smooth = _running_mean(values, len(rows) // 20)
            axes.plot(steps, smooth, color=colour, label=f"{label}, mean of {len(rows) // 20}", linewidth=1.6)
        else:
            axes.plot(steps, values, color=colour, label=label, linewidth=1.4, marker=marker, markersize=3.5)
        lowest, highest = min(lowest, values.min()), max(highest, values.max())
    if name not in _TITLES and lowest > 0 and highest > 20 * lowest:
        axes.set_yscale("log")
    faults = [row["step"] for row in history if row.get("kind") == "fault" and "step" in row]
    for index, step in enumerate(faults):
        axes.axvline(step, color=palette.fault, linestyle="--", linewidth=0.9, label=None if index else "fault")
    axes.set_xlabel("training step")
    axes.set_title(_TITLES.get(name, name.replace("_", " ")), loc="left", fontsize=10.5, color=palette.text)
    _legend(axes, palette, columns=3)
    return figure


def score_figure(summary: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """Draws the SDR of the model's stems, song by song as a box plot, beside the means of the trivial predictors.

    Args:
        summary: what `evaluate` returns.
        palette: colours.
    """
    stems = list(summary["stems"])
    figure, axes = _figure(1.5 + 0.55 * len(stems), palette)
    songs = {stem: _songs_sdr(summary, stem) for stem in stems}
    positions = {stem: -index for index, stem in enumerate(stems)}
    filled = [stem for stem in stems if songs[stem]]
    style = {"color": palette.model, "linewidth": 1.2}
    if filled:
        axes.boxplot(
            [songs[stem] for stem in filled], positions=[positions[stem] for stem in filled], orientation="horizontal",
            widths=0.5, showfliers=False, boxprops=style, whiskerprops=style, capprops=style, medianprops=style,
        )  # fmt: skip
    for index, stem in enumerate(filled):
        heights = np.full(len(songs[stem]), positions[stem])
        label = None if index else "model, each song"
        axes.plot(songs[stem], heights, "o", color=palette.model, alpha=0.45, markersize=4, label=label)
    for name, values in summary["trivial"].items():
        if values is not None:
            drawn = [(values[stem], positions[stem]) for stem in stems if _is_number(values[stem])]
            axes.plot(*zip(*drawn, strict=True), _MARKERS[name], color=palette.trivial[name], markersize=6.5,
                      label=TRIVIAL_TITLES[name], linestyle="none")  # fmt: skip
    axes.axvline(0, color=palette.text, linewidth=0.7, alpha=0.6)
    axes.set_yticks(list(positions.values()), labels=stems)
    axes.set_ylim(-len(stems) + 0.4, 0.6)
    _limit_to_readable(axes)
    axes.set_xlabel("global SDR in dB, higher is better")
    _legend(axes, palette, columns=2)
    return figure


def spectrogram_figure(signals: Mapping[str, np.ndarray], sample_rate: int, palette: Palette = LIGHT) -> Figure:
    """Draws spectrograms below each other, in dB below the loudest point of all of them, on one scale.

    The frequency axis is logarithmic, as hearing is: an octave is the same height everywhere.

    Args:
        signals: title and audio `(samples, channels)` of each; the channels are averaged.
        sample_rate: in Hz.
        palette: colours.
    """
    edges = np.geomspace(min(_LOWEST_HZ, sample_rate / 8), sample_rate / 2, _BANDS + 1)
    levels = {title: _band_levels_db(audio, sample_rate, edges) for title, audio in signals.items()}
    loudest = max(one.max() for one in levels.values())
    ticks = [hertz for hertz in _TICKS_HZ if edges[0] <= hertz <= edges[-1]]
    heights = np.interp(np.log(ticks), np.log(edges), np.arange(_BANDS + 1))
    figure = _bare_figure(0.6 + 1.15 * len(signals), palette)
    rows = figure.subplots(len(signals), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, audio) in zip(rows, signals.items(), strict=True):
        _style(axes, palette, grid=False)
        frames = levels[title].shape[1]
        start, stop = ((frame - 0.5) * _HOP_SAMPLES / sample_rate for frame in (0, frames))
        image = axes.imshow(
            np.maximum(levels[title] - loudest, FLOOR_DB), origin="lower", aspect="auto", cmap="magma",
            interpolation="nearest", vmin=FLOOR_DB, vmax=0, extent=(start, stop, 0, _BANDS),
        )  # fmt: skip
        axes.set_xlim(0, len(audio) / sample_rate)
        axes.set_title(title, loc="left", fontsize=9.5, color=palette.text)
        axes.set_yticks(heights, labels=[f"{hertz / 1000:g}" for hertz in ticks])
        axes.set_ylabel("kHz")
    rows[-1].set_xlabel("seconds")
    bar = figure.colorbar(image, ax=list(rows), aspect=30, pad=0.02)
    bar.set_label("dB", color=palette.text, fontsize=8.5)
    bar.ax.tick_params(labelsize=8, colors=palette.text)
    bar.outline.set_edgecolor(palette.grid)
    return figure


def encode_figure(figure: Figure, format: str = "png") -> bytes:
    """Returns the figure as the bytes of a picture, and frees what it holds.

    Args:
        figure: drawn by this module.
        format: `png`, or `webp` for pictures with many colours.
    """
    buffer = io.BytesIO()
    options = {"pil_kwargs": {"quality": 82}} if format == "webp" else {}
    figure.savefig(buffer, format=format, dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor(), **options)
    figure.clear()
    return buffer.getvalue()


def _band_levels_db(audio: np.ndarray, sample_rate: int, edges: np.ndarray) -> np.ndarray:
    """The loudest bin of each band: `(samples, channels)` -> `(bands, frames)`."""
    mono = np.asarray(audio, np.float64).mean(axis=1)
    mono = np.pad(mono, (_WINDOW_SAMPLES // 2, _WINDOW_SAMPLES))  # frame k is centred at k hops
    magnitude, hertz, _ = mlab.specgram(
        mono, NFFT=_WINDOW_SAMPLES, Fs=sample_rate, noverlap=_WINDOW_SAMPLES - _HOP_SAMPLES, mode="magnitude"
    )
    # A band narrower than a bin takes the bin that it lies in.
    first = np.clip(np.searchsorted(hertz, edges[:-1]), 0, len(hertz) - 1)
    first = np.where(hertz[first] >= edges[1:], np.maximum(first - 1, 0), first)
    return 20 * np.log10(np.maximum.reduceat(magnitude, first, axis=0) + 1e-12)


def _songs_sdr(summary: Mapping[str, Any], stem: str) -> list[float]:
    values = [song["stems"][stem]["sdr_global"] for song in summary["per_track"]]
    return [value for value in values if _is_number(value)]


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over `width` neighbours, fewer at both ends."""
    window = np.ones(width)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _limit_to_readable(axes: Axes) -> None:
    """Silent stems score -60 dB and less; they would press everything else into one corner."""
    left, right = axes.get_xlim()
    if left < LOWEST_SDR_DB:
        axes.set_xlim(LOWEST_SDR_DB, max(right, 1.0))
        axes.set_title(
            f"values below {LOWEST_SDR_DB:.0f} dB lie outside",
            loc="right",
            fontsize=8,
            color=axes.xaxis.label.get_color(),
        )


def _bare_figure(height_inches: float, palette: Palette) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained", facecolor=palette.background)
    FigureCanvasAgg(figure)
    return figure


def _figure(height_inches: float, palette: Palette) -> tuple[Figure, Axes]:
    figure = _bare_figure(height_inches, palette)
    axes = figure.subplots()
    _style(axes, palette)
    return figure, axes


def _style(axes: Axes, palette: Palette, grid: bool = True) -> None:
    axes.set_facecolor(palette.background)
    axes.tick_params(colors=palette.text, labelsize=8.5, which="both")
    axes.xaxis.label.set(color=palette.text, fontsize=9)
    axes.yaxis.label.set(color=palette.text, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(palette.grid)
        spine.set_visible(not grid or side in ("left", "bottom"))
    if grid:
        axes.grid(color=palette.grid, linewidth=0.7)
        axes.set_axisbelow(True)


def _legend(axes: Axes, palette: Palette, columns: int) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.figure.legend(
            ncols=columns, fontsize=8.5, frameon=False, labelcolor=palette.text, loc="outside lower center"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))

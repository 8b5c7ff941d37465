"""The scores of an evaluation as rows, as text, and as a sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRIVIAL_TITLES = {
    "zeros": "silence",
    "mixture": "the mixture itself",
    "constant_gain": "constant gain",
    "constant_mask": "constant mask",
}
# Scores of which differences are shown, with their titles.
COMPARED = {"sdr_global": "SDR", "si_sdr": "SI-SDR", "sdr_museval_median": "museval SDR"}
BSS_EVAL_TITLES = {"sdr_museval_median": "SDR", "isr": "ISR", "sir": "SIR", "sar": "SAR"}


@dataclass(frozen=True)
class ScoreRow:
    """One line of the score table, in dB; None where there is no value.

    Args:
        stem: name of the stem, or `mean`.
        model: the global SDR of the model.
        trivial: the global SDR of each trivial predictor by name.
        best_trivial: the highest of them; in the row `mean` the mean over stems of the highest.
        difference: model minus best trivial.
        si_sdr: the scale-invariant SDR of the model.
    """

    stem: str
    model: float | None
    trivial: Mapping[str, float | None]
    best_trivial: float | None
    difference: float | None
    si_sdr: float | None


def score_rows(summary: Mapping[str, Any]) -> list[ScoreRow]:
    """Returns a row per stem and one for their mean, from the summary of an evaluation."""
    return [
        _row(stem, scores, summary["trivial"])
        for stem, scores in [*summary["stems"].items(), ("mean", summary["mean"])]
    ]


@dataclass(frozen=True)
class SongRow:
    """One song, in dB; None where there is no value.

    Args:
        track: its name.
        stems: the global SDR of the model for each stem.
        mean: of them.
        best_trivial: mean over the stems of those trivial predictors that are best over all songs.
        museval: mean over the stems of museval's SDR.
        seconds: its length.
    """

    track: str
    stems: Sequence[float | None]
    mean: float | None
    best_trivial: float | None
    museval: float | None
    seconds: float


def song_rows(summary: Mapping[str, Any]) -> list[SongRow]:
    """Returns a row per song, from the summary of an evaluation."""
    fitted = {name: values for name, values in summary["trivial"].items() if values is not None}
    best = {stem: max(fitted, key=lambda name: fitted[name][stem]) for stem in summary["stems"]} if fitted else {}
    rows = []
    for song in summary["per_track"]:
        trivial = [song["trivial"][name][stem] for stem, name in best.items()] if "trivial" in song else []
        stems = [song["stems"][stem]["sdr_global"] for stem in summary["stems"]]
        mean = sum(trivial) / len(trivial) if trivial else None
        rows.append(SongRow(song["track"], stems, song["mean"]["sdr_global"], mean, song["mean"].get("sdr_museval_median"), song["seconds"]))
    return rows


def score_text(summary: Mapping[str, Any]) -> str:
    """Returns the table for a terminal."""
    names = list(summary["trivial"])
    rows = [["SDR in dB", "model", *names, "best trivial", "model - best"]]
    for row in score_rows(summary):
        trivial = [decibels(row.trivial[name]) for name in names]
        rows.append(
            [row.stem, decibels(row.model), *trivial, decibels(row.best_trivial), decibels(row.difference, sign=True)]
        )
    return _table(rows) + _bss_eval_text(summary)


def _bss_eval_text(summary):
    if summary["mean"].get("sdr_museval_median") is None:
        return ""
    rows = [["museval, in dB", *BSS_EVAL_TITLES.values()]]
    rows += [[stem, *(decibels(scores[key]) for key in BSS_EVAL_TITLES)] for stem, scores in [*summary["stems"].items(), ("mean", summary["mean"])]]
    return "\n" + _table(rows)


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """Returns the differences from a baseline for a terminal."""
    rows = [[f"difference from {comparison['baseline']}", *COMPARED.values()]]
    rows += [[stem, *(interval_text(scores.get(key)) for key in COMPARED)] for stem, scores in [*comparison["stems"].items(), ("mean", comparison["mean"])]]
    kept = [column for column in range(len(rows[0])) if column == 0 or any(row[column] != "-" for row in rows[1:])]
    rows = [[row[column] for column in kept] for row in rows]
    songs = f"{comparison['tracks']} songs of both, in dB; in brackets the {comparison['confidence']:.0%} interval by bootstrap over the songs"
    return f"{_table(rows)}\n{songs}"


def interval_text(difference: Mapping[str, float | None] | None) -> str:
    """Formats a difference with its interval, a dash where there is none."""
    if difference is None:
        return "-"
    interval = "" if difference["low"] is None else f" [{decibels(difference['low'], sign=True)}, {decibels(difference['high'], sign=True)}]"
    return decibels(difference["difference"], sign=True) + interval


def verdict(summary: Mapping[str, Any]) -> str:
    """Says in plain words how the model compares with the trivial predictors."""
    row = score_rows(summary)[-1]
    if row.difference is None:
        return "The scores are not finite, so they cannot be compared."
    mean = (
        f"The mean SDR is {decibels(row.model)} dB; the best trivial predictors reach {decibels(row.best_trivial)} dB."
    )
    if abs(row.difference) < 0.05:
        return f"{mean} The model is no better than predictors without a network."
    if row.difference < 0:
        return f"{mean} The model is {-row.difference:.1f} dB worse than predictors without a network."
    behind = [one.stem for one in score_rows(summary)[:-1] if one.difference is not None and one.difference <= 0]
    but = f", but not for {_listed(behind)}" if behind else ""
    return f"{mean} The model is {row.difference:.1f} dB better than predictors without a network{but}."


def decibels(value: float | None, sign: bool = False) -> str:
    """Formats a score with two digits, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:+.2f}" if sign else f"{value:.2f}"


def _row(stem: str, scores: Mapping[str, Any], trivial: Mapping[str, Any]) -> ScoreRow:
    model, best = scores["sdr_global"], scores["trivial_sdr_global"]
    difference = None if model is None or best is None else model - best
    by_name = {name: None if values is None else values[stem] for name, values in trivial.items()}
    return ScoreRow(stem, model, by_name, best, difference, scores["si_sdr"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = [(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

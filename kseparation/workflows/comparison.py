"""Whether one model is better than another, song by song."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from kseparation.errors import UserError
from kseparation.storage.atomic import read_json
from kseparation.workflows.evaluation_summary import mean_of_defined

CONFIDENCE = 0.95
RESAMPLES = 9999
# With fewer songs no interval by bootstrap holds what it promises.
LEAST_SONGS = 6
# Differences that differ by less are one number that was rounded.
ROUNDING_DECIBELS = 1e-9
# Two evaluations on the same sound agree on what the mixture itself scores, but for rounding.
SAME_SOUND_DECIBELS = 0.01


def read_summary(path: str | Path) -> dict[str, Any]:
    """Returns the summary of an earlier evaluation.

    Args:
        path: `summary.json` of a separator, or the folder that holds it.

    Raises:
        UserError: there is none, or it is none of an evaluation.
    """
    file = Path(path) / "summary.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(f"`--baseline` does not exist. Received: {file}. `kseparation evaluate --out=FOLDER` writes it.")
    try:
        summary = read_json(file)
        for song in summary["per_track"]:
            _ = song["track"], _mixture_sdr(song), song["stems"].items()
        fits = isinstance(summary["model"], str) and {"stems", "mean"} <= set(summary)
    except (UserError, LookupError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise UserError(f"`--baseline` is no summary of an evaluation. Received: {file}. `kseparation evaluate --out=FOLDER` writes it.")
    return summary


def _mixture_sdr(song):
    return dict(song["trivial"]["mixture"])


def require_comparable(baseline: Mapping[str, Any], tracks: Sequence[str], stems: Sequence[str]) -> None:
    """Raises UserError where a baseline has none of these songs, or none of these stems."""
    theirs = [song["track"] for song in baseline["per_track"]]
    for what, ours, others in (("songs", tracks, theirs), ("stems", stems, list(baseline["stems"]))):
        if not set(ours) & set(others):
            raise UserError(
                f"`--baseline` holds none of these {what}. Received: {baseline['model']} on {', '.join(others[:4]) or 'none'}; here: {', '.join(list(ours)[:4])}. "
                "Evaluate both on the same subset."
            )


def require_same_sound(song: Mapping[str, Any], baseline: Mapping[str, Any], stems: Sequence[str]) -> None:
    """Raises UserError where a baseline has scored other sound under the name of a song.

    Args:
        song: its row of `per_track`.
        baseline: a summary.
        stems: those that are compared.
    """
    theirs = next((one for one in baseline["per_track"] if one["track"] == song["track"]), None)
    if theirs is None:
        return
    here, there = _mixture_sdr(song), _mixture_sdr(theirs)
    for stem in (stem for stem in stems if stem in baseline["stems"]):
        if abs(here[stem] - there[stem]) > SAME_SOUND_DECIBELS:
            raise UserError(
                f"`--baseline` was scored on other sound: `{song['track']}` is another song there, or has another rate or number of channels. Received: the mixture as {stem} "
                f"has {there[stem]:.2f} dB with {baseline['model']}, {here[stem]:.2f} dB here. Evaluate both models on the same data set; models of unlike rates cannot be compared."
            )


def compare_summaries(summary: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """Compares two evaluations on the songs of both: mean difference over the songs with its bootstrap interval.

    The songs are drawn with replacement, each with both of its scores, so that what makes a song hard for both models does not blur the difference. An interval that holds
    zero says that these songs do not tell the models apart. Of museval's scores, too, the mean over the songs is compared, not their median.

    Args:
        summary: what `evaluate` returns.
        baseline: the same of the other model; songs and stems that both have are compared.

    Returns:
        `{"baseline", "tracks", "confidence", "stems": {stem: {score: {"difference", "low", "high"}}}, "mean": {score: ...}}` in dB; `mean` is that over the stems of both, song by
        song. `low` and `high` are None below six songs.

    Raises:
        UserError: no song or no stem in common, or songs of the same name with other sound.

    References: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 14 (bias-corrected and accelerated intervals).
    """
    ours, theirs = ({one["track"]: one for one in each["per_track"]} for each in (summary, baseline))
    require_comparable(baseline, list(ours), list(summary["stems"]))
    tracks = [track for track in ours if track in theirs]
    stems = [stem for stem in summary["stems"] if stem in baseline["stems"]]
    for track in tracks:
        require_same_sound(ours[track], baseline, stems)
    table = {key: _differences(ours, theirs, tracks, stems, key) for key, value in summary["mean"].items() if value is not None}
    table = {key: rows for key, rows in table.items() if np.isfinite(rows).any()}
    return {
        "baseline": baseline["model"],
        "tracks": len(tracks),
        "confidence": CONFIDENCE,
        "stems": {stem: {key: _interval(rows[:, index]) for key, rows in table.items() if np.isfinite(rows[:, index]).any()} for index, stem in enumerate(stems)},
        "mean": {key: _interval([mean_of_defined(value for value in row if np.isfinite(value)) for row in rows]) for key, rows in table.items()},
    }


def _differences(ours, theirs, tracks, stems, key):
    """Ours minus theirs, `(tracks, stems)`, NaN where one of both has no value."""

    def value(song, stem):
        found = song["stems"][stem].get(key)
        return np.nan if found is None else found

    return np.array([[value(ours[track], stem) - value(theirs[track], stem) for stem in stems] for track in tracks], dtype="float64")


def _interval(differences):
    differences = np.array([np.nan if value is None else value for value in differences], dtype="float64")
    differences = differences[np.isfinite(differences)]
    low = high = None
    if len(differences) >= LEAST_SONGS:
        low = high = float(differences.mean())
        if np.ptp(differences) > ROUNDING_DECIBELS:
            found = bootstrap((differences,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, rng=np.random.default_rng(0)).confidence_interval
            low, high = float(found.low), float(found.high)
    return {"difference": float(differences.mean()), "low": low, "high": high}

"""Whether one model is better than another, song by song."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from kseparation.errors import UserError

CONFIDENCE = 0.95
RESAMPLES = 9999


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
        summary = json.loads(file.read_text(encoding="utf-8"))
        fits = {"model", "stems", "mean", "per_track"} <= set(summary)
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise UserError(f"`--baseline` is no summary of an evaluation. Received: {file}. `kseparation evaluate --out=FOLDER` writes it.")
    return summary


def compare_summaries(summary: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """Compares two evaluations on the songs of both: mean difference over the songs with its bootstrap interval.

    The songs are drawn with replacement, each with both of its scores, so that what makes a song hard for both models does not blur the difference. An interval that holds
    zero says that these songs do not tell the models apart.

    Args:
        summary: what `evaluate` returns.
        baseline: the same of the other model; songs and stems that both have are compared.

    Returns:
        `{"baseline", "tracks", "confidence", "stems": {stem: {score: {"difference", "low", "high"}}}, "mean": {score: ...}}` in dB; `low` and `high` are None below three
        songs.

    References: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 14 (bias-corrected and accelerated intervals).
    """
    ours, theirs = ({one["track"]: one for one in each["per_track"]} for each in (summary, baseline))
    tracks = [track for track in ours if track in theirs]
    if not tracks:
        raise UserError(f"`--baseline` holds none of these songs. Received: {baseline['model']} on {', '.join(list(theirs)[:3]) or 'no songs'}. Evaluate it on the same subset.")
    stems = [stem for stem in summary["stems"] if stem in baseline["stems"]]
    keys = [key for key, value in summary["mean"].items() if value is not None and baseline["mean"].get(key) is not None]

    def pairs(read):
        values = [(read(ours[track]), read(theirs[track])) for track in tracks]
        return [(one, other) for one, other in values if one is not None and other is not None]

    def row(read):
        found = {key: _difference(pairs(lambda song, key=key: read(song).get(key))) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    return {
        "baseline": baseline["model"],
        "tracks": len(tracks),
        "confidence": CONFIDENCE,
        "stems": {stem: row(lambda song, stem=stem: song["stems"][stem]) for stem in stems},
        "mean": row(lambda song: song["mean"]),
    }


def _difference(pairs: Sequence[tuple[float, float]]) -> dict[str, float | None] | None:
    if not pairs:
        return None
    differences = np.array([one - other for one, other in pairs])
    low = high = None
    if len(differences) > 2 and np.ptp(differences) > 0:
        interval = bootstrap((differences,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, rng=np.random.default_rng(0)).confidence_interval
        low, high = float(interval.low), float(interval.high)
    elif len(differences) > 2:
        low = high = float(differences[0])
    return {"difference": float(differences.mean()), "low": low, "high": high}

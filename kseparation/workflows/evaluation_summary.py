"""The scores of songs and what is said of all of them together: the form of `summary.json`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kseparation.metrics.bss_eval import MUSEVAL_SCORES
from kseparation.workflows.trivial_predictors import TRIVIAL_NAMES

METRIC_KEYS = {"sdr": "sdr_global", "si_sdr": "si_sdr"}
# Scored by museval on whole songs; its four scores have keys of their own.
BSS_EVAL = "bss_eval"
BSS_EVAL_KEYS = tuple(MUSEVAL_SCORES)
# The keys of a stem in summary.json; those that were not asked for are null.
STEM_KEYS = (
    "sdr_global", "mixture_sdr_global", "trivial_sdr_global", "sdr_museval_median", "isr", "sir", "sar", "si_sdr",
)  # fmt: skip


@dataclass(frozen=True)
class TrackScores:
    """The scores of one song, in dB.

    Args:
        track: name of the song.
        seconds: its length.
        scores: metric -> stem -> value of the model.
        trivial: predictor -> stem -> global SDR.
        museval: stem -> median over the frames of each of `BSS_EVAL_KEYS`, None where nothing is defined; empty where not asked for, or where museval failed.
        silent: stems that are zero throughout.
    """

    track: str
    seconds: float
    scores: Mapping[str, Mapping[str, float]]
    trivial: Mapping[str, Mapping[str, float]]
    museval: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


def summarise(per_track: Sequence[TrackScores], stems: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """Means over songs: `stems` and their `mean` with the keys of `summary.json`, and `trivial`.

    `trivial_sdr_global` of a stem is the highest mean over songs among the trivial predictors; in `mean` it is the
    mean of that over stems.
    """
    trivial = {name: _mean_by_stem([one.trivial.get(name) for one in per_track], stems) for name in TRIVIAL_NAMES}
    fitted = {name: values for name, values in trivial.items() if values is not None}
    table = {}
    for stem in stems:
        table[stem] = dict.fromkeys(STEM_KEYS)
        table[stem]["mixture_sdr_global"] = fitted["mixture"][stem]
        table[stem]["trivial_sdr_global"] = max(values[stem] for values in fitted.values())
        for metric in metrics:
            table[stem][METRIC_KEYS[metric]] = mean_of_defined(one.scores[metric][stem] for one in per_track)
        for key in BSS_EVAL_KEYS:
            table[stem][key] = median_of_defined(one.museval[stem][key] for one in per_track if one.museval)
    columns = {key: [table[stem][key] for stem in stems] for key in STEM_KEYS}
    mean = {key: mean_of_defined(values) for key, values in columns.items()}
    return {"stems": table, "mean": mean, "trivial": trivial}


def mean_of_defined(values: Iterable[float | None]) -> float | None:
    """Mean of the scores that are defined, None where none is: a silent stem has no scale-invariant SDR."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def median_of_defined(values: Iterable[float | None]) -> float | None:
    """Median of the scores that are defined, None where none is: the convention of BSS Eval, over frames and over songs."""
    defined = [value for value in values if value is not None]
    return float(np.median(defined)) if defined else None


def _mean_by_stem(values: Sequence[Mapping[str, float] | None], stems: Sequence[str]) -> dict[str, float] | None:
    """Mean over songs for each stem, and the mean of those; None where the predictor could not be fitted."""
    if None in values:
        return None
    means = {stem: float(np.mean([one[stem] for one in values])) for stem in stems}
    return means | {"mean": float(np.mean(list(means.values())))}


def track_record(scores: TrackScores) -> dict[str, Any]:
    """Returns the entry of one song in `per_track`."""
    keys = {METRIC_KEYS[metric]: values for metric, values in scores.scores.items()}
    keys |= {key: {stem: values[key] for stem, values in scores.museval.items()} for key in BSS_EVAL_KEYS if scores.museval}
    stems = {stem: {key: values[stem] for key, values in keys.items()} for stem in scores.scores["sdr"]}
    mean = {key: mean_of_defined(values.values()) for key, values in keys.items()}
    return {"track": scores.track, "seconds": scores.seconds, "stems": stems, "mean": mean, "trivial": scores.trivial}

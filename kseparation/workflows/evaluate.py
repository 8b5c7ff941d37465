"""Scores a separator on whole songs, beside predictors without a network."""

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kseparation.config import load_config
from kseparation.config.arguments import check_arguments
from kseparation.config.records import DataConfig, EvaluationConfig, RunConfig
from kseparation.data.builtin_music import BuiltinMusic
from kseparation.data.track_folder import SPLITS, TrackFolder
from kseparation.errors import UserError, did_you_mean
from kseparation.metrics import TRACK_METRICS
from kseparation.reporting.report import write_report
from kseparation.reporting.report_data import Excerpt, ReportData
from kseparation.reporting.score_table import comparison_text, score_text
from kseparation.storage.atomic import require_writable, write_json
from kseparation.storage.json_lines import read_json_lines
from kseparation.workflows.comparison import compare_summaries, read_summary, require_comparable, require_same_sound
from kseparation.workflows.environment import describe_environment
from kseparation.workflows.evaluation_summary import BSS_EVAL, TrackScores, summarise, track_record
from kseparation.workflows.run_folder import CONFIG_FILE
from kseparation.workflows.trivial_predictors import TrivialPredictors, fit_trivial_predictors
from kseparation.workflows.whole_song_scores import WholeSongScores
from kseparation.workflows.whole_track import separate_blocks

METRIC_NAMES = (*TRACK_METRICS, BSS_EVAL)
EXCERPT_SECONDS = 10
SONGS_TO_HEAR = 2


def evaluate(
    model: Any,
    data: str,
    subset: str = "test",
    metrics: Sequence[str] | None = None,
    out: str | Path = "results",
    overlap: float | None = None,
    model_name: str | None = None,
    run_folder: str | Path | None = None,
    baseline: str | Path | None = None,
) -> dict[str, Any]:
    """Separates every song of a subset, scores the stems, and writes `summary.json` and `report.html`.

    The scores stand beside those of four predictors without a network: a model that does not beat them has learned
    nothing of use. Songs pass block by block, so that memory does not grow with their length.

    Args:
        model: a separator: `stems`, `sample_rate`, `channels`, `segment_samples` and `predict_segments`.
        data: `builtin`, or the root of a data set. Built-in music, and the songs put aside for validation, are those of the run where `run_folder` is given.
        subset: `test`, `validation` or `train`.
        metrics: of `sdr`, `si_sdr` and `bss_eval` (museval; minutes for each song); by default those of the run, else the first two. `sdr` is always scored, because
            the trivial predictors are compared by it.
        out: folder for the results, not that of a run.
        overlap: part of a segment shared with the next, 0 to below 1; by default that of the run, else 0.5.
        model_name: how the model is called in the results. Defaults to its `name`.
        run_folder: of the training, for its settings of data and evaluation, and for the curves and the config in the report.
        baseline: `summary.json` of another model, or its folder; the differences on the songs of both are then added, with intervals.

    Returns:
        what `summary.json` holds: `model`, `data`, `subset`, `tracks` (their number), `stems`, `mean`, `trivial`
        (predictor -> stem -> mean over songs, null where it could not be fitted), `notes`, `per_track` and, with a baseline, `comparison`.

    Raises:
        UserError: unknown subset or metric, no songs, a song lacks a stem of the model, museval does not work, the baseline is of other songs, or lies where the results go.
        CheckFailed: the model gives values that are not finite.
    """
    run = _config_of(run_folder)
    metrics = run.evaluation.metrics if metrics is None else metrics
    overlap = run.evaluation.overlap if overlap is None else overlap
    _check_names(subset, metrics)
    out = Path(out)
    other = None if baseline is None else _baseline(baseline, out)
    if (out / CONFIG_FILE).is_file():
        raise UserError(f"`--out` is the folder of a run, whose summary and report would be lost. Received: {out}. Choose another, such as {out / 'evaluation'}.")
    require_writable(out / "summary.json")
    tracks, training = _open_data(model, data, subset, run.data)
    if other is not None:
        require_comparable(other, [track.name for track in tracks], model.stems)
    predictors = fit_trivial_predictors(_counted(training, "fitting trivial predictors"), model.stems)
    streamed = tuple(name for name in TRACK_METRICS if name == "sdr" or name in metrics)
    per_track, excerpts, failures = [], [], {}
    with contextlib.ExitStack() as stack:
        whole_songs = stack.enter_context(WholeSongScores(out / subset, model.stems, model.sample_rate, model.channels)) if BSS_EVAL in metrics else None
        for track in _counted(tracks, "evaluating"):
            scores, excerpt = _score_track(model, track, predictors, streamed, overlap, len(excerpts) < SONGS_TO_HEAR, whole_songs)
            per_track.append(scores)
            if other is not None and len(per_track) == 1:  # later ones are found when the scores are on the disk
                require_same_sound(track_record(scores), other, model.stems)
            excerpts += [excerpt] if excerpt else []
        if whole_songs is not None:
            museval, failures = whole_songs.results(), whole_songs.failures
            per_track = [replace(one, museval=museval[one.track]) for one in per_track]
    name = model_name or str(getattr(model, "name", type(model).__name__))
    head = {"model": name, "data": str(data), "subset": subset, "tracks": len(tracks)}
    summary = head | summarise(per_track, model.stems, streamed) | {"notes": [*_notes(subset, predictors, per_track), *failures.values()]}
    summary["per_track"] = [track_record(scores) for scores in per_track]
    print(score_text(summary), file=sys.stderr)
    for line in failures.values():
        print(f"warning: {line}", file=sys.stderr)
    write_json(out / "summary.json", summary)
    if other is not None:
        summary["comparison"] = compare_summaries(summary, other)
        print(comparison_text(summary["comparison"]), file=sys.stderr)
        write_json(out / "summary.json", summary)
    write_report(out / "report.html", _report_data(model, summary, excerpts, overlap, run_folder))
    return summary


def _baseline(path: str | Path, out: Path) -> dict[str, Any]:
    summary = out / "summary.json"
    if summary.exists() and any(file.exists() and file.samefile(summary) for file in (Path(path), Path(path) / "summary.json")):
        raise UserError(f"`--baseline` is what `--out` will replace. Received: --baseline={path} --out={out}. Choose another --out.")
    return read_summary(path)


def _check_names(subset: str, metrics: Sequence[str]) -> None:
    if subset not in SPLITS:
        raise UserError(f"`subset` is unknown. Received: subset={subset!r}. {did_you_mean(subset, SPLITS)}")
    for metric in metrics:
        if metric not in METRIC_NAMES:
            raise UserError(f"`metrics` has an unknown name. Received: {metric!r}. {did_you_mean(metric, METRIC_NAMES)}")


def _config_of(run_folder: str | Path | None) -> RunConfig:
    file = Path(run_folder) / CONFIG_FILE if run_folder else None
    return load_config(file) if file and file.is_file() else RunConfig(evaluation=EvaluationConfig(metrics=tuple(TRACK_METRICS)))


def _open_data(model: Any, data: str, subset: str, trained_on: DataConfig) -> tuple[list, list]:
    if data != "builtin" and not Path(data).is_dir():
        raise UserError(f"`--data` is not a folder. Received: {data}. Give `builtin`, or a folder that holds test/<song>/<stem>.wav.")
    options = {"stems": model.stems, "sample_rate": model.sample_rate, "channels": model.channels}
    if data == "builtin":
        own = trained_on.arguments if trained_on.name == "builtin" else {}
        arguments = check_arguments(BuiltinMusic, own, trained_on.place, options)
        songs = BuiltinMusic(**options, validation_split=trained_on.validation_split, **arguments)
    else:
        songs = TrackFolder(data, **options, validation_split=trained_on.validation_split)
    return songs.tracks(subset), songs.tracks("train") if songs.has("train") else []


def _score_track(
    model: Any, track: Any, predictors: TrivialPredictors, metrics: Sequence[str], overlap: float, is_heard: bool, whole_songs: WholeSongScores | None
) -> tuple[TrackScores, Excerpt | None]:
    scores = {name: TRACK_METRICS[name](model.stems) for name in metrics}
    trivial = {name: TRACK_METRICS["sdr"](model.stems) for name in predictors.names}
    window = _window_to_hear(track, model.stems) if is_heard else slice(0, 0)
    heard, position = [], 0
    whole_song = whole_songs.song(track.name, track.samples) if whole_songs is not None else None
    for estimate in separate_blocks(model, track.read_mixture, track.samples, overlap):
        length = estimate.shape[1]
        reference = _read_stems(track, model.stems, position, length)
        for score in scores.values():
            score.update(reference, estimate)
        if whole_song is not None:
            whole_song.add(reference, estimate, track.read_mixture(position, length))
        for name, guess in predictors.estimates(track.read_mixture, position, length, track.samples):
            trivial[name].update(reference, guess)
        # A copy: a slice would keep the whole block in memory.
        heard.append(estimate[:, max(window.start - position, 0) : max(window.stop - position, 0)].copy())
        position += length
    if whole_song is not None:
        whole_song.complete()
    seconds = track.samples / model.sample_rate
    results = [{name: score.result() for name, score in group.items()} for group in (scores, trivial)]
    excerpt = _excerpt(model, track, window, np.concatenate(heard, axis=1)) if is_heard else None
    return TrackScores(track.name, seconds, *results, silent=scores["sdr"].silent_stems()), excerpt


def _read_stems(track: Any, stems: Sequence[str], start: int, samples: int) -> np.ndarray:
    return np.stack([track.read(stem, start, samples) for stem in stems])


def _window_to_hear(track: Any, stems: Sequence[str]) -> slice:
    """The ten seconds in which the stem that is heard least is heard most."""
    second = track.sample_rate
    starts = range(0, track.samples, second)
    energy = np.array([np.square(_read_stems(track, stems, start, second)).sum(axis=(1, 2)) for start in starts])
    share = np.cumsum(np.pad(energy / np.maximum(energy.sum(axis=0), 1e-12), ((1, 0), (0, 0))), axis=0)
    length = min(EXCERPT_SECONDS, len(starts))
    best = int(np.argmax((share[length:] - share[:-length]).min(axis=1)))
    return slice(best * second, min((best + length) * second, track.samples))


def _excerpt(model: Any, track: Any, window: slice, heard: np.ndarray) -> Excerpt:
    length = window.stop - window.start
    return Excerpt(
        track=track.name,
        start_seconds=window.start / model.sample_rate,
        sample_rate=model.sample_rate,
        mixture=track.read_mixture(window.start, length),
        references={stem: track.read(stem, window.start, length) for stem in model.stems},
        estimates=dict(zip(model.stems, heard, strict=True)),
    )


def _notes(subset: str, predictors: TrivialPredictors, per_track: Sequence[TrackScores]) -> list[str]:
    notes = []
    if not predictors.training_songs:
        notes.append("The data set has no training songs, so constant gain and constant mask could not be fitted.")
    elif subset == "train":
        notes.append("These are training songs: the model and the fitted predictors have heard them, so the scores flatter both.")
    silent = [f"{stem} of {one.track}" for one in per_track for stem in one.silent]
    if silent:
        named = f"{', '.join(silent[:3])}{', ...' if len(silent) > 3 else ''}"
        notes.append(
            f"Silent in their song: {len(silent)} ({named}). By its definition the global SDR of such a stem is far below 0 dB unless the estimate is silent too, and counts in the mean. "
            "It has no SI-SDR and is left out of that mean."
        )
    undefined = sum(value["sdr_museval_median"] is None for one in per_track for value in one.museval.values())
    if undefined:
        notes.append(f"{undefined} stems have no frame that museval can score; they are left out of its medians.")
    return notes


def _counted(tracks: Sequence[Any], words: str) -> Iterable[Any]:
    """Passes the songs on, with a progress bar on a terminal and a line for each song elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(tracks, desc=words, unit="song")
        return
    for index, track in enumerate(tracks, start=1):
        print(f"{words}: song {index} of {len(tracks)}, {track.name}", file=sys.stderr)
        yield track


def _report_data(
    model: Any, summary: Mapping[str, Any], excerpts: list[Excerpt], overlap: float, run_folder: str | Path | None
) -> ReportData:
    run = None if run_folder is None else Path(run_folder)
    config = run / "config.yaml" if run else None
    return ReportData(
        title=f"{summary['model']} on {summary['data']}, {summary['subset']}",
        summary=summary,
        history=read_json_lines(run / "metrics.jsonl") if run else (),
        excerpts=excerpts,
        facts={
            "Model": _model_facts(model, summary, overlap),
            "Data": _data_facts(summary),
            "Environment": _environment_facts(),
        },
        config_text=config.read_text(encoding="utf-8") if config and config.is_file() else "",
        notes=summary["notes"],
    )


def _model_facts(model: Any, summary: Mapping[str, Any], overlap: float) -> dict[str, Any]:
    facts = {
        "name": summary["model"],
        "class": type(model).__name__,
        "stems": ", ".join(model.stems),
        "sample rate": f"{model.sample_rate} Hz",
        "channels": model.channels,
        "segment": f"{model.segment_samples / model.sample_rate:.2f} s, overlap {overlap:g}",
    }
    return facts | ({"parameters": f"{model.count_params():,}"} if hasattr(model, "count_params") else {})


def _data_facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    seconds = sum(one["seconds"] for one in summary["per_track"])
    return {
        "data set": summary["data"],
        "subset": summary["subset"],
        "songs": summary["tracks"],
        "length": f"{seconds:.0f} s",
    }


def _environment_facts() -> dict[str, Any]:
    environment = describe_environment()
    packages = environment.pop("packages")
    return environment | packages

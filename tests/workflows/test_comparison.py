"""Differences of two models over songs, with intervals."""

import json

import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.reporting.score_table import comparison_text
from kseparation.workflows.comparison import compare_summaries, read_summary


def summary(scores, model="ours"):
    """An evaluation with one stem, whose SDR is given by song."""
    per_track = [{"track": name, "stems": {"vocals": {"sdr_global": value}}, "mean": {"sdr_global": value}} for name, value in scores.items()]
    return {"model": model, "stems": {"vocals": {}}, "mean": {"sdr_global": 0.0, "si_sdr": None}, "per_track": per_track}


def songs(values):
    return {f"song {index}": float(value) for index, value in enumerate(values)}


def test_differences_are_paired_by_song():
    """Hard and easy songs differ by 20 dB, and the models by 1 dB on each: the interval is narrow."""
    draw = np.random.default_rng(0)
    base = draw.uniform(-10, 10, 30)
    better = base + 1 + draw.normal(0, 0.1, 30)
    shuffled = dict(sorted(songs(better).items(), reverse=True))
    found = compare_summaries(summary(shuffled), summary(songs(base), "theirs"))
    scores = found["stems"]["vocals"]["sdr_global"]
    assert scores["difference"] == pytest.approx(np.mean(better - base))
    assert 0.9 < scores["low"] < scores["difference"] < scores["high"] < 1.1
    assert (found["baseline"], found["tracks"], found["confidence"]) == ("theirs", 30, 0.95)
    assert found["mean"] == {"sdr_global": scores}


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw, covered = np.random.default_rng(1), 0
    for _ in range(60):
        other = draw.normal(0, 1, 25)
        found = compare_summaries(summary(songs(other + draw.normal(0.5, 1, 25))), summary(songs(other)))["mean"]["sdr_global"]
        covered += found["low"] <= 0.5 <= found["high"]
    assert 51 <= covered <= 60


def test_only_songs_and_scores_of_both_count():
    ours, theirs = summary({"a": 1.0, "b": 2.0, "c": 5.0}), summary({"b": 1.0, "c": 1.0, "d": 9.0})
    found = compare_summaries(ours, theirs)
    assert found["tracks"] == 2 and list(found["mean"]) == ["sdr_global"]
    # Two songs have a mean and no interval.
    assert found["mean"]["sdr_global"] == {"difference": 2.5, "low": None, "high": None}
    theirs["per_track"][1]["stems"]["vocals"]["sdr_global"] = None
    assert compare_summaries(ours, theirs)["stems"]["vocals"]["sdr_global"]["difference"] == 1.0


def test_the_text_has_a_line_for_each_stem():
    ours = songs(np.arange(10.0))
    lines = comparison_text(compare_summaries(summary(ours), summary(songs(np.arange(10.0) * 0.5), "theirs"))).splitlines()
    assert lines[0].startswith("difference from theirs") and lines[0].endswith("SDR")
    assert lines[1].startswith("vocals") and "+2.25 [+1." in lines[1] and lines[2].startswith("mean")
    assert lines[3] == "10 songs of both, in dB; in brackets the 95% interval by bootstrap over the songs"


def test_nothing_in_common_is_an_error():
    with pytest.raises(UserError, match="`--baseline` holds none of these songs. Received: theirs on b"):
        compare_summaries(summary({"a": 1.0}), summary({"b": 1.0}, "theirs"))


def test_a_summary_is_read_from_its_folder_or_its_file(tmp_path):
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(summary({"a": 1.0})))
    assert read_summary(tmp_path) == read_summary(str(file)) == summary({"a": 1.0})
    for text in ("{", "{}", "[]", "3"):
        file.write_text(text)
        with pytest.raises(UserError, match="is no summary of an evaluation"):
            read_summary(file)

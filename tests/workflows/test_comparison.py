"""Differences of two models over songs, with intervals."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from kseparation.errors import UserError
from kseparation.reporting.score_table import comparison_text
from kseparation.workflows import comparison
from kseparation.workflows.comparison import compare_summaries, read_summary


def summary(scores, model="ours", stems=("vocals",), mixture=-3.0):
    """An evaluation in which the SDR of each song is given: one number, or one for each stem."""
    per_track = []
    for name, values in scores.items():
        values = dict(zip(stems, np.broadcast_to(values, len(stems)).tolist(), strict=True))
        per_track.append(
            {
                "track": name,
                "stems": {stem: {"sdr_global": value} for stem, value in values.items()},
                "mean": {"sdr_global": float(np.mean(list(values.values())))},
                "trivial": {"mixture": dict.fromkeys(stems, mixture)},
            }
        )
    return {"model": model, "stems": dict.fromkeys(stems, {}), "mean": {"sdr_global": 0.0, "si_sdr": None}, "per_track": per_track}


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


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(comparison, "RESAMPLES", 999)
    draw, covered, widths, trials = np.random.default_rng(1), 0, [], 300
    for _ in range(trials):
        other = draw.normal(0, 1, 25)
        found = compare_summaries(summary(songs(other + draw.normal(0.5, 1, 25))), summary(songs(other)))["mean"]["sdr_global"]
        covered += found["low"] <= 0.5 <= found["high"]
        widths.append(found["high"] - found["low"])
    # 95 % of 300 is 285, with a deviation of 4; a bootstrap over 25 songs falls short by two or three in a hundred.
    assert 0.89 * trials < covered < 0.98 * trials
    assert np.mean(widths) == pytest.approx(2 * 1.96 / 5, rel=0.1)


def test_only_songs_and_scores_of_both_count():
    ours, theirs = summary({"a": 1.0, "b": 2.0, "c": 5.0}), summary({"b": 1.0, "c": 1.0, "d": 9.0})
    found = compare_summaries(ours, theirs)
    assert found["tracks"] == 2 and list(found["mean"]) == ["sdr_global"]
    # Two songs have a mean and no interval.
    assert found["mean"]["sdr_global"] == {"difference": 2.5, "low": None, "high": None}
    theirs["per_track"][1]["stems"]["vocals"]["sdr_global"] = None
    assert compare_summaries(ours, theirs)["stems"]["vocals"]["sdr_global"]["difference"] == 1.0


def test_the_mean_is_over_the_stems_of_both():
    ours, theirs = summary({"a": 4.0}), summary({"a": [3.0, 9.0]}, stems=("vocals", "drums"))
    assert compare_summaries(ours, theirs)["mean"]["sdr_global"]["difference"] == 1.0
    assert compare_summaries(theirs, ours)["mean"]["sdr_global"]["difference"] == -1.0
    # A song in which one model has no value for a stem counts by the others.
    ours = summary({"a": [4.0, 5.0]}, stems=("vocals", "drums"))
    ours["per_track"][0]["stems"]["drums"]["sdr_global"] = None
    assert compare_summaries(ours, theirs)["mean"]["sdr_global"]["difference"] == 1.0


def test_five_songs_have_no_interval_and_six_have():
    for count in (5, 6):
        found = compare_summaries(summary(songs(np.arange(count))), summary(songs(np.zeros(count))))["mean"]["sdr_global"]
        assert (found["low"] is None) == (count == 5)
    same = compare_summaries(summary(songs(np.ones(6))), summary(songs(np.zeros(6))))["mean"]["sdr_global"]
    assert same == {"difference": 1.0, "low": 1.0, "high": 1.0}
    nearly = compare_summaries(summary(songs([3.3, 3.3, np.nextafter(3.3, 4), 3.3, 3.3, 3.3])), summary(songs(np.zeros(6))))["mean"]["sdr_global"]
    assert list(nearly.values()) == pytest.approx([3.3] * 3)


def test_the_interval_is_bias_corrected_and_accelerated():
    """Written out from the definition, with many more resamples, for differences that are far from symmetric."""
    values = np.random.default_rng(2).exponential(1.0, 12) ** 2
    resamples = np.random.default_rng(3).choice(values, (200_000, 12)).mean(axis=1)
    bias = norm.ppf(np.mean(resamples < values.mean()))
    without_one = np.array([np.delete(values, index).mean() for index in range(12)])
    apart = without_one.mean() - without_one
    acceleration = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    shifted = bias + norm.ppf([0.025, 0.975])
    low, high = np.quantile(resamples, norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    found = compare_summaries(summary(songs(values)), summary(songs(np.zeros(12))))["mean"]["sdr_global"]
    assert (found["low"], found["high"]) == pytest.approx((low, high), rel=0.04)
    assert np.quantile(resamples, 0.975) < 0.9 * high  # the percentiles alone are another interval


def test_the_text_has_a_line_for_each_stem():
    ours = songs(np.arange(10.0))
    lines = comparison_text(compare_summaries(summary(ours), summary(songs(np.arange(10.0) * 0.5), "theirs"))).splitlines()
    assert lines[0].startswith("difference from theirs") and lines[0].endswith("SDR")
    assert lines[1].startswith("vocals") and "+2.25 [+1." in lines[1] and lines[2].startswith("mean")
    assert lines[3] == "10 songs of both, in dB; in brackets the 95% interval by bootstrap over the songs"


def test_nothing_in_common_is_an_error():
    with pytest.raises(UserError, match="`--baseline` holds none of these songs. Received: theirs on b; here: a"):
        compare_summaries(summary({"a": 1.0}), summary({"b": 1.0}, "theirs"))
    with pytest.raises(UserError, match="`--baseline` holds none of these stems. Received: theirs on drums; here: vocals"):
        compare_summaries(summary({"a": 1.0}), summary({"a": 1.0}, "theirs", stems=("drums",)))


def test_songs_of_the_same_name_with_other_sound_are_not_compared():
    compare_summaries(summary({"a": 1.0}), summary({"a": 1.0}, mixture=-3.001))
    with pytest.raises(UserError, match="`a` is another song there, .* Received: the mixture as vocals has -5.00 dB with theirs, -3.00 dB here"):
        compare_summaries(summary({"a": 1.0}), summary({"a": 1.0}, "theirs", mixture=-5.0))


def test_a_summary_is_read_from_its_folder_or_its_file(tmp_path):
    file = tmp_path / "summary.json"
    sound = summary({"a": 1.0})
    file.write_text(json.dumps(sound))
    assert read_summary(tmp_path) == read_summary(str(file)) == sound
    broken = [{key: value for key, value in sound.items() if key != lost} for lost in ("model", "stems", "mean", "per_track")]
    for lost in ("track", "stems", "trivial"):
        broken.append({**sound, "per_track": [{key: value for key, value in sound["per_track"][0].items() if key != lost}]})
    for text in ("{", "{}", "[]", "3", *map(json.dumps, broken)):
        file.write_text(text)
        with pytest.raises(UserError, match="is no summary of an evaluation"):
            read_summary(file)

"""What is said of all songs together."""

import pytest

from kseparation.workflows.evaluation_summary import TrackScores, summarise, track_record


def test_the_best_trivial_predictor_is_chosen_by_its_mean_over_songs():
    def song(zeros, mixture):
        return TrackScores("song", 1.0, {"sdr": {"a": 1.0}}, {"zeros": {"a": zeros}, "mixture": {"a": mixture}})

    summary = summarise([song(0.0, 10.0), song(0.0, -12.0)], ["a"], ["sdr"])
    assert summary["stems"]["a"]["trivial_sdr_global"] == 0.0
    assert summary["trivial"]["mixture"] == {"a": -1.0, "mean": -1.0}
    assert summary["trivial"]["constant_mask"] is None


def museval_song(*vocals):
    scores = {"vocals": dict(zip(("sdr_museval_median", "isr", "sir", "sar"), vocals))}
    return TrackScores("song", 1.0, {"sdr": {"vocals": 1.0}}, {"zeros": {"vocals": 0.0}, "mixture": {"vocals": 0.0}}, scores)


def test_scores_of_museval_are_medians_over_the_songs_and_silent_ones_are_left_out():
    songs = [museval_song(1.0, 2.0, 3.0, None), museval_song(2.0, 3.0, None, None), museval_song(9.0, 10.0, 4.0, None)]
    table = summarise(songs, ["vocals"], ["sdr"])["stems"]["vocals"]
    assert [table[key] for key in ("sdr_museval_median", "isr", "sir", "sar")] == [2.0, 3.0, 3.5, None]
    assert table["sdr_global"] == 1.0
    record = track_record(songs[1])
    assert record["stems"]["vocals"] == pytest.approx({"sdr_global": 1.0, "sdr_museval_median": 2.0, "isr": 3.0, "sir": None, "sar": None})

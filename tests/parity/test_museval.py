"""The scores in our files are those of the package museval, called by itself on the same sound."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kseparation.audio.files import read_audio, write_audio
from kseparation.errors import UserError
from kseparation.metrics.bss_eval import BSSEvalJobs
from kseparation.metrics.bss_eval_process import framewise_scores
from kseparation.workflows.evaluate import evaluate
from kseparation.workflows.whole_song_scores import WholeSongScores
from tests.songs import write_songs

RATE, STEMS = 8000, ("vocals", "drums")
# By itself: museval's own functions on wav files, as its users call them.
PROGRAM = """
import json, sys
import musdb, museval, numpy, soundfile
from museval.aggregate import EvalStore, TrackStore

reference, estimate, file = sys.argv[1:4]
stems = json.loads(sys.argv[4])
sounds = [numpy.stack([soundfile.read(f"{folder}/{stem}.wav")[0] for stem in stems]) for folder in (reference, estimate)]
rate = soundfile.info(f"{reference}/{stems[0]}.wav").samplerate
values = museval.evaluate(*sounds, win=rate, hop=rate, mode="v4", padding=False)
loaded = json.load(open(file))
track = TrackStore("song")
track.scores = loaded
store = EvalStore(frames_agg="median", tracks_agg="median")
store.add_track(track)
print(json.dumps({"frames": [value.tolist() for value in values], "table": store.df[["target", "metric", "score"]].values.tolist()}))
"""


class Mixer:
    """Gives each stem as a part of the mixture, with noise that is the same for the same mixture."""

    name, sample_rate, channels, segment_samples, stems = "mixer", RATE, 2, RATE, STEMS

    def predict_segments(self, batch):
        noise = np.random.default_rng(0).normal(0, 0.05, (len(batch), 2, *batch.shape[1:]))
        return (np.array([0.6, 0.3])[None, :, None, None] * batch[:, None] + noise * np.abs(batch[:, None]).max()).astype("float32")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = tmp_path_factory.mktemp("songs")
    write_songs(root, {"train": {"t": 4000}, "test": {"a": 3 * RATE + 1000, "b": 2 * RATE}})
    out = root / "results"
    return root, out, evaluate(Mixer(), str(root), metrics=("sdr", "bss_eval"), out=out)


def of_museval(reference, estimate, file, stems=STEMS):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    answer = subprocess.run([sys.executable, "-c", PROGRAM, str(reference), str(estimate), str(file), json.dumps(stems)], capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.parametrize("song", ["a", "b"])
def test_values_are_those_of_the_package_on_the_wav_files(evaluated, tmp_path, song):
    from kseparation.workflows.whole_track import separate_blocks

    root, out, summary = evaluated
    reference = root / "test" / song
    mixture = sum(read_audio(reference / f"{stem}.wav")[0] for stem in STEMS)
    blocks = separate_blocks(Mixer(), lambda start, samples: mixture[start : start + samples], len(mixture), 0.5)
    estimate = np.concatenate(list(blocks), axis=1)
    for stem, sound in zip(STEMS, estimate):
        write_audio(tmp_path / f"{stem}.wav", sound, RATE, bits="32f")
    package = of_museval(reference, tmp_path, out / "test" / f"{song}.json")

    written = json.loads((out / "test" / f"{song}.json").read_text())
    for index, target in enumerate(written["targets"]):
        assert target["name"] == STEMS[index]
        for metric, values in zip(("SDR", "ISR", "SIR", "SAR"), package["frames"]):
            found = [np.nan if frame["metrics"][metric] is None else frame["metrics"][metric] for frame in target["frames"]]
            # museval rounds what it writes to five digits.
            np.testing.assert_allclose(found, np.array(values[index], float), atol=2e-4)
            assert len(found) == (3 if song == "a" else 2)
    # museval's own loader opens the file, and its medians are ours.
    record = next(one for one in summary["per_track"] if one["track"] == song)
    keys = {"SDR": "sdr_museval_median", "ISR": "isr", "SIR": "sir", "SAR": "sar"}
    medians = {}
    for target, metric, score in package["table"]:
        medians.setdefault((target, metric), []).append(score)
    for (target, metric), scores in medians.items():
        assert record["stems"][target][keys[metric]] == pytest.approx(np.nanmedian(np.array(scores, float)), abs=1e-4)


def test_the_summary_holds_medians_over_songs(evaluated):
    _, _, summary = evaluated
    for stem in STEMS:
        values = [song["stems"][stem]["sdr_museval_median"] for song in summary["per_track"]]
        assert summary["stems"][stem]["sdr_museval_median"] == pytest.approx(np.median(values))


def test_what_is_scored_once_is_not_scored_again(evaluated, monkeypatch):
    root, out, summary = evaluated
    monkeypatch.setattr(BSSEvalJobs, "score", lambda *_: pytest.fail("scored again"))
    assert evaluate(Mixer(), str(root), metrics=("sdr", "bss_eval"), out=out)["stems"] == summary["stems"]


def test_other_sound_is_scored_anew_and_an_interruption_keeps_what_is_done(tmp_path):
    draw = np.random.default_rng(0)
    sounds = draw.normal(size=(2, 2, 2, 2 * RATE, 2)).astype("float32")

    def score(scores, name, reference, estimate):
        song = scores.song(name, reference.shape[1])
        for start in range(0, reference.shape[1], 5000):
            song.add(reference[:, start : start + 5000], estimate[:, start : start + 5000])
        song.complete()

    with pytest.raises(KeyboardInterrupt):
        with WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
            score(scores, "a", *sounds[0])
            first = scores.results()["a"]
            score(scores, "b", *sounds[1])
            raise KeyboardInterrupt
    assert not list(tmp_path.glob(".tmp*")) and (tmp_path / "a.json").is_file()
    before = (tmp_path / "a.json").stat().st_mtime_ns
    with WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
        score(scores, "a", *sounds[0])
        score(scores, "b", *sounds[1])
        again = scores.results()
    assert again["a"] == first and (tmp_path / "a.json").stat().st_mtime_ns == before
    with WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
        score(scores, "a", sounds[0][0], sounds[1][1])
        assert scores.results()["a"] != first


def test_silent_stems_are_left_out_and_do_not_change_the_others(tmp_path):
    """The package refuses a song in which a stem is silent throughout."""
    draw = np.random.default_rng(0)
    reference, estimate = draw.normal(size=(2, 3, 2 * RATE, 2))
    whole = framewise_scores(reference, estimate, RATE)
    reference[1] = 0
    scores = framewise_scores(reference, estimate, RATE)
    assert np.all(np.isnan(scores["SDR"][1])) and scores["SDR"].shape == (3, 2)
    np.testing.assert_allclose(scores["SDR"][[0, 2]], whole["SDR"][[0, 2]], atol=1e-6)
    silence = framewise_scores(0 * reference, estimate, RATE)
    assert all(np.all(np.isnan(values)) for values in silence.values())


def test_a_song_shorter_than_a_window_has_a_frame(tmp_path):
    draw = np.random.default_rng(0)
    assert framewise_scores(*draw.normal(size=(2, 2, RATE // 2, 2)), RATE)["SDR"].shape == (2, 1)


def test_a_package_that_is_missing_is_named_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "museval.py").write_text("raise ImportError('no museval here')")
    for part in ("reference", "estimate"):
        np.save(tmp_path / f"{part}.npy", np.random.default_rng(0).normal(size=(2, RATE, 2)).astype("float32"))
    with BSSEvalJobs(STEMS, RATE) as jobs, pytest.raises(UserError, match=r"museval could not score `a`: ImportError: no museval here. It needs .* kseparation\[eval\]"):
        jobs.score(tmp_path, "a", tmp_path / "a.json").result()
    assert not list(tmp_path.glob("*.json")) and not list(tmp_path.glob("*.npy"))

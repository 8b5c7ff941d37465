"""The scores in our files are those of the package museval, called by itself on the same sound."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from kseparation.audio.files import read_audio, write_audio
from kseparation.errors import MachineError, UserError
from kseparation.metrics.bss_eval import BSSEvalJobs
from kseparation.metrics.bss_eval_process import framewise_scores
from kseparation.workflows import evaluate as evaluation
from kseparation.workflows.evaluate import evaluate
from kseparation.workflows.whole_song_scores import WholeSongScores
from tests.songs import write_songs

RATE, STEMS = 8000, ("vocals", "drums")
# By itself: museval's own functions on wav files, and its own loader on our folder, as its users call them.
PROGRAM = """
import json, sys
import musdb, museval, numpy, soundfile

reference, estimate, results = sys.argv[1:4]
stems = json.loads(sys.argv[4])
sounds = [numpy.stack([soundfile.read(f"{folder}/{stem}.wav")[0] for stem in stems]) for folder in (reference, estimate)]
rate = soundfile.info(f"{reference}/{stems[0]}.wav").samplerate
values = museval.evaluate(*sounds, win=rate, hop=rate, mode="v4", padding=False)
store = museval.EvalStore(frames_agg="median", tracks_agg="median")
store.add_eval_dir(results)
songs, all_songs = ([[*key, score] if isinstance(key, tuple) else [key, score] for key, score in table.items()] for table in (store.agg_frames_scores(), store.agg_frames_tracks_scores()))
print(json.dumps({"frames": [value.tolist() for value in values], "songs": songs, "all_songs": all_songs}))
"""
KEYS = {"SDR": "sdr_museval_median", "ISR": "isr", "SIR": "sir", "SAR": "sar"}


@pytest.fixture(scope="module", autouse=True)
def nothing_but_scores():
    """Asks once whether museval works, which takes two seconds each time, and draws no report."""
    call, answers = BSSEvalJobs._call, {}

    def asked_once(self, *arguments):
        if arguments != ("--check",) or "PYTHONPATH" in os.environ:
            return call(self, *arguments)
        if not answers:
            answers[arguments] = call(self, *arguments)
        return answers[arguments]

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        patch.setattr(BSSEvalJobs, "_call", asked_once)
        patch.setattr(evaluation, "write_report", lambda path, data: None)
        yield


class Mixer:
    """Gives each stem as a part of the mixture, with noise that is the same for the same mixture."""

    name, sample_rate, channels, segment_samples, stems = "mixer", RATE, 2, RATE, STEMS

    def predict_segments(self, batch):
        noise = np.random.default_rng(0).normal(0, 0.05, (len(batch), 2, *batch.shape[1:]))
        return (np.array([0.6, 0.3])[None, :, None, None] * batch[:, None] + noise * np.abs(batch[:, None]).max()).astype("float32")


def write_correlated_songs(root):
    """Songs whose stems share a part and have a colour of their own; in the second song a second is silent."""
    draw = np.random.default_rng(3)
    for split, songs in {"train": {"t": 4000}, "test": {"a": 3 * RATE + 1000, "b": 3 * RATE}}.items():
        for song, samples in songs.items():
            shared = draw.normal(size=(samples, 2))
            for index, stem in enumerate(STEMS):
                sound = np.cumsum(draw.normal(size=(samples, 2)), axis=0) * 0.01 if index else draw.normal(size=(samples, 2)) * 0.2
                sound = sound - sound.mean(axis=0) + 0.05 * shared
                if song == "b" and not index:
                    sound[RATE : 2 * RATE] = 0
                (root / split / song).mkdir(parents=True, exist_ok=True)
                write_audio(root / split / song / f"{stem}.wav", (0.3 * sound / np.abs(sound).max()).astype("float32"), RATE, bits="32f")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = tmp_path_factory.mktemp("songs")
    write_correlated_songs(root)
    out = root / "results"
    return root, out, evaluate(Mixer(), str(root), metrics=("sdr", "bss_eval"), out=out)


def of_museval(reference, estimate, results, stems=STEMS):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    answer = subprocess.run([sys.executable, "-c", PROGRAM, str(reference), str(estimate), str(results), json.dumps(stems)], capture_output=True, text=True, env=environment)
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
    package = of_museval(reference, tmp_path, out)

    written = json.loads((out / "test" / f"{song}.json").read_text())
    assert [target["name"] for target in written["targets"]] == list(STEMS)
    for index, target in enumerate(written["targets"]):
        for metric, values in zip(KEYS, package["frames"]):
            found = [np.nan if frame["metrics"][metric] is None else frame["metrics"][metric] for frame in target["frames"]]
            # museval rounds what it writes to five digits.
            np.testing.assert_allclose(found, np.array(values[index], float), atol=2e-5)
            assert np.isnan(found).tolist() == ([False] * 3 if song == "a" else [False, True, False])
    record = next(one for one in summary["per_track"] if one["track"] == song)
    medians = {(target, metric): score for track, target, metric, score in package["songs"] if track == song}
    assert medians == {(stem, metric): pytest.approx(record["stems"][stem][key]) for stem in STEMS for metric, key in KEYS.items()}
    over_songs = {(target, metric): score for target, metric, score in package["all_songs"]}
    assert over_songs == {(stem, metric): pytest.approx(summary["stems"][stem][key]) for stem in STEMS for metric, key in KEYS.items()}


def test_what_is_scored_once_is_not_scored_again(evaluated, monkeypatch):
    root, out, summary = evaluated
    monkeypatch.setattr(BSSEvalJobs, "score", lambda *_: pytest.fail("scored again"))
    assert evaluate(Mixer(), str(root), metrics=("sdr", "bss_eval"), out=out)["stems"] == summary["stems"]


def score(scores, name, reference, estimate, mixture=None):
    """Hands a song over in blocks, as an evaluation does."""
    mixture = reference.sum(axis=0) if mixture is None else mixture
    song = scores.song(name, reference.shape[1])
    for start in range(0, reference.shape[1], 5000):
        song.add(*(sound[..., start : start + 5000, :] for sound in (reference, estimate, mixture)))
    song.complete()


def test_other_sound_is_scored_anew_and_an_interruption_keeps_what_is_done(tmp_path):
    draw = np.random.default_rng(0)
    sounds = draw.normal(size=(2, 2, 2, 2 * RATE, 2)).astype("float32")

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
        other = scores.results()["a"]
        assert other != first
    # Scores that somebody else has put there are not taken for those of this sound.
    (tmp_path / "b.json").write_bytes((tmp_path / "a.json").read_bytes())
    with WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
        score(scores, "b", *sounds[1])
        assert scores.results()["b"] == again["b"] != other
    # The same sound at another rate, then under other names: each differs from the one before in nothing else.
    before = again["b"]
    for stems, rate in ((STEMS, RATE // 2), (STEMS[::-1], RATE // 2)):
        with WholeSongScores(tmp_path, stems, rate, 2) as scores:
            score(scores, "b", *sounds[1])
            found = scores.results()["b"]
        assert set(found) == set(STEMS) and all(found[stem] != before[stem] for stem in stems)
        before = found


def test_scores_of_other_sound_do_not_stay_where_museval_fails(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(BSSEvalJobs, "_call", lambda self, *arguments: (int(arguments[0] != "--check"), "ValueError: too strange"))
    sounds = random_sounds().astype("float32")
    with WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
        score(scores, "a", *sounds)
        assert scores.results() == {"a": {}} and "too strange" in scores.failures["a"]
    assert not (tmp_path / "a.json").exists()


def test_a_disk_that_is_full_is_named(tmp_path):
    sounds = random_sounds().astype("float32")
    with pytest.raises(MachineError, match="No space left on device. Free space there"), WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
        song = scores.song("a", sounds.shape[2])
        (song.folder / "estimate.npy").unlink()
        (song.folder / "estimate.npy").symlink_to("/dev/full")
        song.add(*sounds, sounds[0].sum(axis=0))


def test_a_disk_that_is_full_when_the_scores_are_written_is_named(tmp_path):
    sounds = random_sounds().astype("float32")
    with pytest.raises(MachineError, match="a.json` cannot be written: No space left on device. Free space there"), WholeSongScores(tmp_path, STEMS, RATE, 2) as scores:
        song = scores.song("a", sounds.shape[2])
        (song.folder / "scores.json").symlink_to("/dev/full")
        song.add(*sounds, sounds[0].sum(axis=0))
        song.complete()
        scores.results()
    assert not list(tmp_path.glob("*.json"))


def test_the_rest_is_no_stem_of_its_own_where_it_is_rounding_or_has_a_name(tmp_path):
    reference, estimate = (0.03 * random_sounds()).astype("float32")
    mixture = np.round(reference.sum(axis=0) * 2**15).astype("float32") / 2**15
    for stems in (("vocals", "accompaniment"), ("vocals", "no_vocals")):
        with WholeSongScores(tmp_path / stems[1], stems, RATE, 2) as scores:
            score(scores, "a", reference, estimate, mixture)
            found = scores.results()["a"]
        assert [target["name"] for target in json.loads((tmp_path / stems[1] / "a.json").read_text())["targets"]] == list(stems)
        direct = framewise_scores(reference, estimate, RATE)
        assert found[stems[1]]["sdr_museval_median"] == pytest.approx(np.median(direct["SDR"][1]), abs=1e-4)


def test_an_estimate_of_opposite_channels_is_scored_as_it_is():
    """The package takes it for silence and refuses the song."""
    reference, estimate = random_sounds()
    estimate[0, :, 1] = -estimate[0, :, 0]
    scores = framewise_scores(reference, estimate, RATE)
    nearly = estimate + 1e-6 * random_sounds(seed=1)[0]
    np.testing.assert_allclose(scores["SDR"], framewise_scores(reference, nearly, RATE)["SDR"], atol=1e-3)
    assert np.all(scores["SDR"][0] < 3)


def random_sounds(stems=2, seconds=2.0, seed=0):
    return np.random.default_rng(seed).normal(size=(2, stems, int(seconds * RATE), 2))


def test_a_silent_stem_is_left_out_and_the_others_are_scored_without_it():
    """The package refuses a song in which a stem is silent throughout."""
    reference, estimate = random_sounds(3)
    reference[1] = 0
    scores = framewise_scores(reference, estimate, RATE)
    others = framewise_scores(reference[[0, 2]], estimate[[0, 2]], RATE)
    for name, values in scores.items():
        assert np.all(np.isnan(values[1])) and values.shape == (3, 2)
        np.testing.assert_allclose(values[[0, 2]], others[name])
    silence = framewise_scores(0 * reference, estimate, RATE)
    assert all(np.all(np.isnan(values)) for values in silence.values())


def test_a_lost_stem_scores_as_silence_does_and_stays_a_stem_for_the_others():
    reference, estimate = random_sounds(3)
    reference[1, :RATE] = 0
    whole = framewise_scores(reference, estimate, RATE)
    estimate[1] = 0
    scores = framewise_scores(reference, estimate, RATE)
    for name, values in scores.items():
        np.testing.assert_allclose(values[[0, 2]], whole[name][[0, 2]])
        np.testing.assert_array_equal(values[1], [np.nan, 0.0] if name in ("SDR", "ISR") else [np.nan, np.nan])
    # What museval itself says of an estimate that is nearly nothing.
    nearly = framewise_scores(reference, np.where(estimate == 0, 1e-9 * random_sounds(3, seed=1)[1], estimate), RATE)
    np.testing.assert_allclose([nearly["SDR"][1, 1], nearly["ISR"][1, 1]], 0, atol=1e-6)


@pytest.mark.parametrize("alike", ["channels", "stems", "one channel dead"])
def test_sounds_that_are_alike_can_be_scored(alike):
    """Their correlations make a singular matrix, for which museval looks for an error that NumPy has moved."""
    reference, estimate = 100 * random_sounds()
    if alike == "channels":
        reference[0, :, 1] = reference[0, :, 0]
    elif alike == "stems":
        reference[1] = reference[0]
    else:
        reference[0, :, 1] = 0
    scores = framewise_scores(reference, estimate, RATE)
    assert np.all(np.isfinite(scores["SDR"]))


def test_a_song_shorter_than_a_window_has_a_frame():
    assert framewise_scores(*random_sounds(seconds=0.5), RATE)["SDR"].shape == (2, 1)


def test_what_the_stems_leave_of_the_mixture_interferes_with_them(tmp_path):
    (vocals, other), estimate = random_sounds()[0].astype("float32"), random_sounds(seed=1)[0, :1].astype("float32") * 0.1

    def scored(folder, mixture):
        with WholeSongScores(folder, ("vocals",), RATE, 2) as scores:
            score(scores, "a", vocals[None], vocals[None] + 0.3 * other + estimate, mixture)
            return scores.results()["a"], [target["name"] for target in json.loads((folder / "a.json").read_text())["targets"]]

    found, names = scored(tmp_path / "mixed", vocals + other)
    assert list(found) == ["vocals"] and names == ["vocals", "accompaniment"]
    assert found["vocals"]["sir"] == pytest.approx(-20 * np.log10(0.3), abs=1.0)
    alone, names = scored(tmp_path / "alone", vocals)
    assert names == ["vocals"] and alone["vocals"]["sdr_museval_median"] == pytest.approx(found["vocals"]["sdr_museval_median"], abs=0.3)


def test_a_package_that_is_missing_is_named_with_the_cure_before_any_song(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "museval.py").write_text("raise ImportError('no museval here')")
    words = r"`metrics` has bss_eval, and museval does not work: ImportError: no museval here. It needs .* kseparation\[eval\]"
    with pytest.raises(UserError, match=words), WholeSongScores(tmp_path / "out", STEMS, RATE, 2):
        pytest.fail("began")
    assert not list((tmp_path / "out").glob(".tmp*"))


def test_a_song_that_museval_cannot_score_costs_no_other(tmp_path, monkeypatch):
    (tmp_path / "museval").mkdir()
    (tmp_path / "museval" / "__init__.py").write_text("def evaluate(*_, **__):\n    raise ValueError('too strange')\n")
    (tmp_path / "museval" / "aggregate.py").write_text("class TrackStore: pass\n")
    songs = tmp_path / "songs"
    write_songs(songs, {"train": {"t": 4000}, "test": {"a": RATE}})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    summary = evaluate(Mixer(), str(songs), metrics=("sdr", "bss_eval"), out=tmp_path / "out")
    assert summary["mean"]["sdr_global"] is not None and summary["mean"]["sdr_museval_median"] is None
    assert any("museval could not score `a`: ValueError: too strange" in note for note in summary["notes"])


def test_an_interruption_ends_the_processes_that_score(tmp_path, monkeypatch):
    (tmp_path / "museval.py").write_text(f"import pathlib, sys, time\nif '--check' not in sys.argv:\n    pathlib.Path({str(tmp_path / 'began')!r}).touch()\n    time.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sounds = random_sounds()[0].astype("float32")
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), WholeSongScores(tmp_path / "out", STEMS, RATE, 2) as scores:
        song = scores.song("a", sounds.shape[1])
        song.add(sounds, sounds, sounds.sum(axis=0))
        song.complete()
        while not (tmp_path / "began").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 60
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["run.lock"]


def test_what_a_killed_process_left_is_removed_and_damaged_digests_are_forgotten(tmp_path):
    (tmp_path / ".tmp-left").mkdir()
    (tmp_path / "scored.digests").write_text("[")
    with WholeSongScores(tmp_path, STEMS, RATE, 2):
        assert not (tmp_path / ".tmp-left").exists()
        with pytest.raises(MachineError, match="is in use by another process"), WholeSongScores(tmp_path, STEMS, RATE, 2):
            pass

"""Evaluation of stand-ins for a model on songs of noise, against scores written from the definition."""

import json
import math

import numpy as np
import pytest

from kseparation.audio.files import read_audio, write_audio
from kseparation.data import TrackFolder, builtin_music
from kseparation.data.builtin import BuiltinSettings
from kseparation.errors import CheckFailed, UserError
from kseparation.workflows import evaluate as module
from kseparation.workflows.evaluate import evaluate
from kseparation.workflows.evaluation_summary import STEM_KEYS
from kseparation.workflows.trivial_predictors import TRIVIAL_NAMES

RATE = 8000
GAINS = {"vocals": 0.7, "bass": 0.2}


class ScaledMixture:
    """Gives each stem as the mixture times a number."""

    name = "scaled_mixture"
    sample_rate, channels, segment_samples = RATE, 2, 5000

    def __init__(self, gains=GAINS):
        self.stems, self.gains = tuple(gains), np.array(list(gains.values()), np.float32)

    def predict_segments(self, batch):
        return self.gains[None, :, None, None] * batch[:, None]


def write_songs(root, split, count, stems=("vocals", "bass"), seconds=2.3):
    for index in range(count):
        random = np.random.default_rng([index, len(split)])
        audio = {
            # In training songs the other stem is the louder one: what is fitted on them is known from what is fitted on others.
            stem: 0.1 * (2 - level if split == "train" else 1 + level) * random.normal(size=(int(seconds * RATE), 2)).astype(np.float32)
            for level, stem in enumerate(stems)
        }
        folder = root / split / f"{split}_{index}"
        folder.mkdir(parents=True)
        for name, one in (audio | {"mixture": sum(audio.values())}).items():
            write_audio(folder / f"{name}.wav", one, RATE, bits="32f")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    root = tmp_path_factory.mktemp("songs")
    write_songs(root, "train", 2)
    write_songs(root, "validation", 1)
    write_songs(root, "test", 3)
    return root


@pytest.fixture
def no_report(monkeypatch):
    """Drawing takes longer than everything else."""
    monkeypatch.setattr(module, "write_report", lambda path, data: path.write_text(repr(data.notes)))


@pytest.fixture(scope="module")
def result(songs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "results"
    return evaluate(ScaledMixture(), str(songs), out=out), out


def definition(reference, estimate):
    reference, estimate = np.float64(reference), np.float64(estimate)
    return 10 * math.log10((np.sum(reference**2) + 1e-7) / (np.sum((reference - estimate) ** 2) + 1e-7))


def mean_over_songs(songs, split, stem, predict):
    scores = []
    for folder in sorted((songs / split).iterdir()):
        truth, mixture = read_audio(folder / f"{stem}.wav")[0], read_audio(folder / "mixture.wav")[0]
        scores.append(definition(truth, predict(mixture)))
    return np.mean(scores)


def test_scores_are_means_over_songs_of_the_definition(songs, result):
    summary, _ = result
    for stem, gain in GAINS.items():
        scores = summary["stems"][stem]
        assert scores["sdr_global"] == pytest.approx(
            mean_over_songs(songs, "test", stem, lambda m, g=gain: g * m), abs=1e-4
        )
        assert scores["mixture_sdr_global"] == pytest.approx(
            mean_over_songs(songs, "test", stem, lambda m: m), abs=1e-4
        )
        assert summary["trivial"]["zeros"][stem] == pytest.approx(0.0, abs=1e-6)
    mean = np.mean([summary["stems"][stem]["sdr_global"] for stem in GAINS])
    assert summary["mean"]["sdr_global"] == pytest.approx(mean)


def test_the_songs_put_aside_are_those_of_the_run(tmp_path, no_report):
    write_songs(tmp_path / "songs", "train", 12, seconds=0.3)
    (tmp_path / "config.yaml").write_text("data: {name: track_folder, root: x, validation_split: 0.6}")
    summary = evaluate(ScaledMixture(), str(tmp_path / "songs"), "validation", out=tmp_path / "out", run_folder=tmp_path)
    folders = (TrackFolder(str(tmp_path / "songs"), tuple(GAINS), RATE, 2, split) for split in (0.6, 0.1))
    aside, others = ([track.name for track in folder.tracks("validation")] for folder in folders)
    assert [song["track"] for song in summary["per_track"]] == aside != others


def test_the_excerpt_is_where_the_rarest_stem_is_heard(tmp_path, monkeypatch):
    seen, draw = [], np.random.default_rng(0)
    monkeypatch.setattr(module, "write_report", lambda path, data: seen.append(data))
    audio = {stem: 0.1 * draw.normal(size=(25 * RATE, 2)).astype(np.float32) for stem in GAINS}
    audio["vocals"][: 14 * RATE] = audio["vocals"][18 * RATE :] = 0
    (tmp_path / "songs" / "test" / "t").mkdir(parents=True)
    for name, one in (audio | {"mixture": sum(audio.values())}).items():
        write_audio(tmp_path / "songs" / "test" / "t" / f"{name}.wav", one, RATE, bits="32f")
    evaluate(ScaledMixture(), str(tmp_path / "songs"), out=tmp_path / "out")
    (heard,) = seen[0].excerpts
    start = round(heard.start_seconds * RATE)
    assert 8 * RATE <= start <= 14 * RATE and len(heard.mixture) == 10 * RATE
    for stem, gain in GAINS.items():
        np.testing.assert_array_equal(heard.references[stem], audio[stem][start : start + 10 * RATE])
        np.testing.assert_allclose(heard.estimates[stem], gain * heard.mixture, atol=1e-5)


def test_the_constant_gain_is_fitted_on_training_songs_alone(songs, result):
    summary, _ = result
    folders = sorted((songs / "train").iterdir())
    mixture = np.concatenate([read_audio(folder / "mixture.wav")[0] for folder in folders]).ravel()
    for stem in GAINS:
        truth = np.concatenate([read_audio(folder / f"{stem}.wav")[0] for folder in folders]).ravel()
        gain = np.vdot(truth, mixture) / np.vdot(mixture, mixture)
        expected = mean_over_songs(songs, "test", stem, lambda m, g=gain: g * m)
        assert summary["trivial"]["constant_gain"][stem] == pytest.approx(expected, abs=1e-4)


def test_the_summary_has_the_documented_form(result):
    summary, out = result
    assert list(summary) == [
        "model", "data", "subset", "tracks", "stems", "mean", "trivial", "notes", "per_track",
    ]  # fmt: skip
    assert (summary["model"], summary["subset"], summary["tracks"]) == ("scaled_mixture", "test", 3)
    assert list(summary["stems"]) == ["vocals", "bass"]
    assert all(tuple(scores) == STEM_KEYS for scores in [*summary["stems"].values(), summary["mean"]])
    assert tuple(summary["trivial"]) == TRIVIAL_NAMES
    for stem in (*GAINS, "mean"):
        best = [
            max(summary["trivial"][name][one] for name in TRIVIAL_NAMES)
            for one in (GAINS if stem == "mean" else [stem])
        ]
        scores = summary["mean"] if stem == "mean" else summary["stems"][stem]
        assert scores["trivial_sdr_global"] == pytest.approx(np.mean(best))
        assert scores["sdr_museval_median"] is None
    assert [song["track"] for song in summary["per_track"]] == ["test_0", "test_1", "test_2"]
    assert json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail) == summary


def test_the_report_shows_it_with_sound_of_two_songs(result):
    page = (result[1] / "report.html").read_text()
    assert "scaled_mixture on " in page
    assert page.count("<audio") == 2 * (1 + 2 * 2)
    assert f"{result[0]['mean']['sdr_global']:.2f} dB" in page


def test_the_table_goes_to_standard_error(songs, tmp_path, capsys, no_report):
    evaluate(ScaledMixture(), str(songs), subset="validation", out=tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "fitting trivial predictors: song 1 of 2, train_0" in captured.err
    assert "evaluating: song 1 of 1, validation_0" in captured.err
    assert "model - best" in captured.err


def test_si_sdr_is_null_where_it_was_not_asked_for(songs, tmp_path, result, no_report):
    summary = evaluate(ScaledMixture(), str(songs), subset="validation", metrics=["sdr"], out=tmp_path)
    assert summary["stems"]["bass"]["si_sdr"] is None
    assert summary["mean"]["si_sdr"] is None
    assert result[0]["mean"]["si_sdr"] is not None


def test_training_songs_can_be_scored_and_the_notes_say_what_that_means(songs, tmp_path, no_report):
    summary = evaluate(ScaledMixture(), str(songs), subset="train", out=tmp_path, model_name="other name")
    assert (summary["tracks"], summary["model"]) == (2, "other name")
    assert "flatter both" in summary["notes"][0]


def test_without_training_songs_two_predictors_are_null_and_the_notes_say_why(tmp_path, no_report):
    write_songs(tmp_path / "songs", "test", 1)
    summary = evaluate(ScaledMixture(), str(tmp_path / "songs"), out=tmp_path / "out")
    assert summary["trivial"]["constant_gain"] is summary["trivial"]["constant_mask"] is None
    assert summary["stems"]["bass"]["trivial_sdr_global"] == max(
        summary["trivial"][one]["bass"] for one in ("zeros", "mixture")
    )
    assert summary["notes"] == [
        "The data set has no training songs, so constant gain and constant mask could not be fitted."
    ]
    assert "no training songs" in (tmp_path / "out" / "report.html").read_text()


def test_curves_and_config_come_from_the_run(songs, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.0}\n')
    (run / "config.yaml").write_text("task: separation\n")
    evaluate(ScaledMixture(), str(songs), subset="validation", out=tmp_path / "out", run_folder=run)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "loss over the training steps" in page
    assert "task: separation" in page


def test_one_sample_and_silence_are_finite(tmp_path, no_report):
    for split, samples, level in (("train", 1, 0.0), ("test", 1, 0.5)):
        for index, gain in enumerate((0.0, 1.0)):
            folder = tmp_path / "songs" / split / f"{index}"
            folder.mkdir(parents=True)
            for name in ("mixture", "vocals", "bass"):
                write_audio(folder / f"{name}.wav", np.full((samples, 2), gain * level, np.float32), RATE)
    summary = evaluate(ScaledMixture(), str(tmp_path / "songs"), out=tmp_path / "out")
    values = [
        one for scores in summary["stems"].values() for key, one in scores.items() if key in ("sdr_global", "si_sdr")
    ]
    assert np.isfinite(values).all()
    assert "Silent in their song: 2 (vocals of 0, bass of 0)." in " ".join(summary["notes"])


def test_metrics_and_overlap_are_those_of_the_run_unless_given(songs, tmp_path, monkeypatch, no_report):
    overlaps, separate = [], module.separate_blocks

    def remembered(model, read, samples, overlap):
        overlaps.append(overlap)
        return separate(model, read, samples, overlap)

    monkeypatch.setattr(module, "separate_blocks", remembered)
    (tmp_path / "config.yaml").write_text("evaluation: {metrics: [sdr], overlap: 0.25}")
    scored = []
    for arguments in ({}, {"run_folder": tmp_path}, {"run_folder": tmp_path, "overlap": 0.75, "metrics": ["si_sdr"]}):
        summary = evaluate(ScaledMixture(), str(songs), "validation", out=tmp_path / "out", **arguments)
        scored.append((overlaps.pop(), summary["mean"]["si_sdr"] is not None))
    assert scored == [(0.5, True), (0.25, False), (0.75, True)]


def test_songs_put_aside_of_builtin_music_are_those_of_the_run(songs, tmp_path, monkeypatch, no_report):
    seen, opened = [], TrackFolder.__init__
    monkeypatch.setattr(builtin_music, "prepare_builtin", lambda settings, cache: songs)
    monkeypatch.setattr(TrackFolder, "__init__", lambda self, *given: seen.append(given[4]) or opened(self, *given))
    (tmp_path / "config.yaml").write_text("data: {name: builtin, songs: {train: 2, test: 1}, validation_split: 0.02}")
    evaluate(ScaledMixture(), "builtin", "validation", out=tmp_path / "out", run_folder=tmp_path)
    assert seen == [0.02]


def test_builtin_music_is_that_of_the_run(songs, tmp_path, monkeypatch, no_report):
    seen = []
    monkeypatch.setattr(builtin_music, "prepare_builtin", lambda settings, cache: seen.append((settings, cache)) or songs)
    monkeypatch.setenv("KSEPARATION_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config.yaml").write_text("data: {name: builtin, seed: 3, songs: {train: 2, test: 1}, song_seconds: 5.0}")
    summary = evaluate(ScaledMixture(), "builtin", "validation", out=tmp_path / "out", run_folder=tmp_path)
    assert seen == [(BuiltinSettings(seed=3, songs={"train": 2, "test": 1}, song_seconds=5.0), tmp_path / "cache")]
    assert summary["data"] == "builtin"
    evaluate(ScaledMixture(), "builtin", "validation", out=tmp_path / "out")
    assert seen[1][0] == BuiltinSettings()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"subset": "tst"}, r"`subset` is unknown\. Received: subset='tst'\. Did you mean `test`\?"),
        (
            {"metrics": ["sdr", "si-sdr"]},
            r"`metrics` has an unknown name\. Received: 'si-sdr'\. Did you mean `si_sdr`\?",
        ),
        ({"data": "/nowhere"}, "`--data` is not a folder"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(songs, tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        evaluate(ScaledMixture(), **({"data": str(songs), "out": tmp_path / "out"} | arguments))
    assert not (tmp_path / "out").exists()


def test_an_empty_subset_and_a_missing_stem_are_named(tmp_path):
    write_songs(tmp_path, "train", 1)
    with pytest.raises(UserError, match="0 tracks found for `test`"):
        evaluate(ScaledMixture(), str(tmp_path), out=tmp_path / "out")
    with pytest.raises(UserError, match="lacks the stem `guitar`"):
        evaluate(ScaledMixture({"guitar": 1.0}), str(tmp_path), subset="train", out=tmp_path / "out")


def test_a_model_that_is_not_finite_fails_the_check(songs, tmp_path):
    with pytest.raises(CheckFailed, match="bass"):
        evaluate(ScaledMixture({"vocals": 1.0, "bass": math.nan}), str(songs), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_overwritten_with_results(songs, tmp_path):
    (tmp_path / "config.yaml").write_text("task: separation")
    with pytest.raises(UserError, match="`--out` is the folder of a run"):
        evaluate(ScaledMixture(), str(songs), out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_another_model_is_compared_with_on_the_songs_of_both(songs, result, tmp_path, no_report, capsys):
    _, out = result
    summary = evaluate(ScaledMixture({"vocals": 0.6, "bass": 0.2}), str(songs), out=tmp_path / "out", baseline=out)
    comparison = summary["comparison"]
    assert (comparison["baseline"], comparison["tracks"]) == ("scaled_mixture", 3)
    expected = np.mean([one["stems"]["vocals"]["sdr_global"] for one in summary["per_track"]]) - result[0]["stems"]["vocals"]["sdr_global"]
    assert comparison["stems"]["vocals"]["sdr_global"]["difference"] == pytest.approx(expected)
    assert comparison["stems"]["bass"]["sdr_global"] == {"difference": 0.0, "low": None, "high": None}  # three songs
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["comparison"] == comparison
    assert "difference from scaled_mixture" in capsys.readouterr().err


def test_a_baseline_that_is_none_is_refused_before_the_songs(songs, result, tmp_path, monkeypatch):
    monkeypatch.setattr(ScaledMixture, "predict_segments", lambda *_: pytest.fail("separated"))
    (tmp_path / "summary.json").write_text("[1]")
    other = dict(result[0], per_track=[dict(song, track=f"other {song['track']}") for song in result[0]["per_track"]])
    (tmp_path / "other.json").write_text(json.dumps(other))
    cases = (tmp_path, "is no summary of an evaluation"), (tmp_path / "none", "`--baseline` does not exist"), (tmp_path / "other.json", "holds none of these songs")
    for baseline, words in cases:
        with pytest.raises(UserError, match=words):
            evaluate(ScaledMixture(), str(songs), out=tmp_path / "out", baseline=baseline)
    assert not (tmp_path / "out").exists()


def test_a_baseline_of_other_sound_ends_the_evaluation_at_the_first_song(songs, result, tmp_path, monkeypatch):
    loud = [dict(song, trivial=dict(song["trivial"], mixture={stem: 3.0 for stem in song["stems"]})) for song in result[0]["per_track"]]
    (tmp_path / "other.json").write_text(json.dumps(dict(result[0], per_track=loud)))
    scored = []
    monkeypatch.setattr(module, "track_record", lambda scores, record=module.track_record: scored.append(scores.track) or record(scores))
    with pytest.raises(UserError, match="`--baseline` was scored on other sound"):
        evaluate(ScaledMixture(), str(songs), out=tmp_path / "out", baseline=tmp_path / "other.json")
    assert len(scored) == 1 and not (tmp_path / "out").exists()


def test_a_baseline_that_the_results_would_replace_is_refused(songs, result, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(result[0]))
    before = (tmp_path / "summary.json").read_bytes()
    for baseline in (tmp_path, tmp_path / "summary.json"):
        with pytest.raises(UserError, match="`--baseline` is what `--out` will replace. .* Choose another --out"):
            evaluate(ScaledMixture(), str(songs), out=tmp_path, baseline=baseline)
    assert (tmp_path / "summary.json").read_bytes() == before

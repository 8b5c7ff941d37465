import errno
import io
import json
import os
import sys
import threading
import time

import numpy as np
import pytest

from kseparation.audio.files import write_audio
from kseparation.errors import CheckFailed, MachineError, UserError
from kseparation.storage.run_lock import RunLock
from kseparation.workflows import separate as separate_workflow
from kseparation.workflows import separate_outputs
from kseparation.workflows.separate import separate
from kseparation.workflows.separate_plan import SeparateSettings
from tests.separating import Shares, noise, run, song, tree


def test_folders_are_searched_and_keep_their_structure(tmp_path):
    for place in ("music/a", "music/b"):
        (tmp_path / place).mkdir(parents=True)
        song(tmp_path / place, "mixture.wav", samples=500)
    song(tmp_path / "music", "top.wav", samples=500)
    song(tmp_path / "music", ".hidden.wav", samples=500)
    (tmp_path / "music" / "notes.txt").write_text("words")
    summary = run([tmp_path / "music", tmp_path / "music" / "top.wav"], tmp_path / "music" / "out")
    assert [track["track"] for track in summary["tracks"]] == ["a/mixture", "b/mixture", "top"]
    assert (tmp_path / "music/out/demo/a/mixture/vocals.wav").is_file()
    again = run([tmp_path / "music"], tmp_path / "music" / "out")
    assert len(again["tracks"]) == 3


@pytest.mark.parametrize(
    "filename, expected, manifest",
    [
        ("{track}_{stem}.{ext}", "song_vocals.wav", "song.manifest.json"),
        ("{stem}/{track}.{ext}", "vocals/song.wav", "song.manifest.json"),
        ("x/{track}/{stem}/audio.{ext}", "x/song/vocals/audio.wav", "x/song/manifest.json"),
        ("{track}/{model}-{{1}}-{stem}", "song/demo-{1}-vocals", "song/manifest.json"),
    ],
)
def test_templates(tmp_path, filename, expected, manifest):
    run([song(tmp_path, samples=100)], tmp_path / "out", stems=("vocals",), filename=filename)
    assert tree(tmp_path / "out") == sorted([expected, manifest])


@pytest.mark.parametrize(
    "filename, words",
    [
        ("{trak}/{stem}.wav", "unknown field {trak}. Did you mean `track`"),
        ("{track.__class__}/{stem}", "unknown field {track.__class__}"),
        ("{track[0]}", "unknown field"),
        ("{}/{stem}", "unknown field {}"),
        ("{track!r}", "takes {track} without a conversion"),
        ("{track:>9}", "takes {track} without a conversion"),
        ("{track", "is no template"),
        ("../{track}/{stem}", "must name a file inside `out`"),
        ("{track}/../../{stem}", "must name a file inside `out`"),
        ("/tmp/{track}/{stem}", "must name a file inside `out`"),
        ("{track}/{stem}/", "must name a file inside `out`"),
        ("", "must name a file inside `out`"),
        ("{track}\\{stem}", "backslashes or control characters"),
        ("{track}\n{stem}", "backslashes or control characters"),
    ],
)
def test_templates_of_other_fields_or_places_are_refused(filename, words):
    with pytest.raises(UserError) as caught:
        SeparateSettings(filename=filename)
    assert words in str(caught.value) and f"Received: {filename!r}" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["...wav", "a:b?*.wav", " .. .wav", "x" * 250 + ".wav", "ünï\udcff.wav", "a\nb.wav", "a\\b.wav"]
)
def test_names_of_inputs_are_made_safe(tmp_path, name):
    (tmp_path / "in").mkdir()
    summary = run([song(tmp_path / "in", name, samples=100)], tmp_path / "out" / "deep", stems=("vocals",))
    files = tree(tmp_path / "out" / "deep")
    assert len(files) == 2 and len(tree(tmp_path)) == 3
    assert all(file.isprintable() and not set(':?*\\"') & set(file) for file in files)
    assert len(files[0].split("/")) == 3
    json.dumps(summary, ensure_ascii=False).encode()


def test_a_model_name_cannot_lead_outside(tmp_path):
    settings = SeparateSettings(out=tmp_path / "out", stems=("vocals",))
    separate([song(tmp_path, samples=100)], Shares(), settings, "../../evil", "abc")
    assert tree(tmp_path / "out") == [".._.._evil/song/manifest.json", ".._.._evil/song/vocals.wav"]


def refused(tmp_path, inputs, words, kind=UserError, **settings):
    """Runs what must be refused before any work; nothing may be left."""
    before, model = tree(tmp_path), Shares()
    with pytest.raises(kind, match=words):
        run(inputs, settings.pop("out", tmp_path / "new" / "out"), model, **settings)
    assert model.calls == 0 and tree(tmp_path) == before and not (tmp_path / "new").exists()


def test_bad_inputs_are_refused_before_any_work(tmp_path):
    good = song(tmp_path)
    (tmp_path / "words.wav").write_text("words")
    (tmp_path / "no_audio").mkdir()
    refused(tmp_path, [good, tmp_path / "missing.wav"], "missing.wav` does not exist")
    refused(tmp_path, [good, tmp_path / "words.wav"], "words.wav` is not an audio file")
    refused(tmp_path, [tmp_path / "no_audio"], "holds no audio files")
    refused(tmp_path, [], "Nothing to separate")


def test_collisions_are_refused_before_any_work(tmp_path):
    (tmp_path / "b").mkdir()
    inputs = [song(tmp_path), song(tmp_path / "b")]
    refused(tmp_path, inputs, r"song/vocals.wav` would be written .* is already vocals of .*song.wav")
    refused(tmp_path, inputs[:1], "Rename an input or give the inputs in two calls with their own `out`, or use {track} and {stem}", filename="{track}.{ext}")
    refused(tmp_path, inputs[:1], "but it is an input", filename="{track}.{ext}", stems=("vocals",), out=tmp_path)


def test_the_same_file_twice_counts_once(tmp_path):
    path = song(tmp_path)
    assert len(run([path, str(path)], tmp_path / "out")["tracks"]) == 1


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"stems": ("vocal",)}, "`stems` names no stem of this model. Received: 'vocal'. Did you mean `vocals`"),
        ({"stems": ()}, r"must name at least one stem, each once. Received: \[\]"),
        ({"stems": ("drums", "drums")}, "each once"),
        ({"two_stems": "guitar"}, "`two_stems` names no stem of this model. Received: 'guitar'. Valid: `vocals`"),
        ({"format": "mp3"}, "mp3 cannot hold this sound"),
    ],
)
def test_requests_that_do_not_fit_are_refused_before_any_work(tmp_path, settings, words):
    refused(tmp_path, [song(tmp_path, channels=3)], words, **settings)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"clip_mode": "join"}, "`clip_mode` is unknown. Received: 'join'. Did you mean `joint`"),
        ({"overlap": 1.0}, "`overlap` must be from 0 to below 1. Received: overlap=1.0"),
        ({"shifts": -1}, "`shifts` must be at least 0. Received: shifts=-1"),
        ({"jobs": 0}, "`jobs` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"stems": ("a",), "two_stems": "a"}, "`stems` and `two_stems` exclude each other"),
        ({"format": "wma"}, "`format` is unknown. Received: format='wma'"),
        ({"format": "flac", "bits": "32f"}, "`bits` does not fit `format`"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        SeparateSettings(**settings)


def test_a_residual_beside_a_stem_of_that_name(tmp_path):
    with pytest.raises(UserError, match="`residual` cannot be written beside a stem of that name"):
        run([song(tmp_path)], tmp_path / "out", Shares({"vocals": 0.5, "residual": 0.5}), residual=True)


def test_outputs_that_cannot_be_written_are_refused_before_any_work(tmp_path, monkeypatch):
    path = song(tmp_path)
    (tmp_path / "file").touch()
    refused(tmp_path, [path], "file` is not a folder", out=tmp_path / "file")
    refused(tmp_path, [path], "file` is not a folder", out=tmp_path / "file" / "below")
    (tmp_path / "taken" / "demo" / "song" / "vocals.wav").mkdir(parents=True)
    refused(tmp_path, [path], "vocals.wav` is a folder where a file must be written", out=tmp_path / "taken")
    monkeypatch.setattr("kseparation.workflows.separate_plan.os.access", lambda *_: False)
    refused(tmp_path, [path], "no permission to write in")


def test_a_bad_sample_in_the_middle_leaves_nothing_half_written(tmp_path):
    audio = noise(100_000)
    audio[90_000, 1] = np.nan
    write_audio(tmp_path / "bad.wav", audio, 8000, bits="32f")
    with pytest.raises(UserError, match="bad.wav.*at sample 90000, channel 1"):
        run([song(tmp_path), tmp_path / "bad.wav"], tmp_path / "out")
    assert {file.split("/")[1] for file in tree(tmp_path / "out")} == {"song"}
    assert not list((tmp_path / "out").glob(".tmp-*"))
    with pytest.raises(UserError):
        run([tmp_path / "bad.wav"], tmp_path / "other" / "out")
    assert not (tmp_path / "other").exists()


def test_a_broken_model_leaves_nothing(tmp_path):
    with pytest.raises(CheckFailed, match="no numbers for stem `drums`"):
        run([song(tmp_path)], tmp_path / "out", Shares({"vocals": 1.0, "drums": np.nan}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [MachineError, KeyboardInterrupt])
def test_a_failure_while_encoding_leaves_nothing_of_that_track(tmp_path, monkeypatch, kind):
    def fail(*_):
        raise kind("disk full")

    monkeypatch.setattr(separate_outputs, "_encode", fail)
    with pytest.raises(kind, match="disk full"):
        run([song(tmp_path), song(tmp_path, "b.wav"), song(tmp_path, "c.wav")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_killed_run_left_is_removed_and_a_live_runs_folder_is_not(tmp_path):
    for name in ("dead", "live"):
        folder = tmp_path / "out" / f".tmp-separate-{name}"
        folder.mkdir(parents=True)
        (folder / "0.raw").touch()
        (folder / "run.lock").touch()
        os.utime(folder, (0, 0))
    with RunLock(tmp_path / "out" / ".tmp-separate-live"):
        os.utime(folder, (0, 0))
        run([song(tmp_path)], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob(".tmp-*")] == [".tmp-separate-live"]


def test_existing_results_are_skipped_only_when_the_manifest_proves_them(tmp_path):
    path, out = song(tmp_path), tmp_path / "out"

    def calls(model_hash="abc123", **settings):
        model = Shares()
        settings = SeparateSettings(out=out, skip_existing=True, **settings)
        summary = separate([path], model, settings, "demo", model_hash)
        assert summary["tracks"][0]["skipped"] == (model.calls == 0)
        return model.calls

    assert calls() > 0
    assert calls() == 0
    assert calls(jobs=2, batch_size=2) == 0  # they decide nothing about what is in the files
    assert calls(model_hash="other") > 0
    assert calls() > 0
    assert calls(overlap=0.25) > 0
    assert calls(overlap=0.25) == 0
    (out / "demo/song/vocals.wav").write_bytes(b"damaged")
    assert calls(overlap=0.25) > 0
    (out / "demo/song/drums.wav").unlink()
    assert calls(overlap=0.25) > 0
    song(tmp_path, seed=5)
    assert calls(overlap=0.25) > 0
    (out / "demo/song/manifest.json").write_text("[]")
    assert calls(overlap=0.25) > 0
    assert calls(overlap=0.25, residual=True) > 0


def test_encoding_runs_while_the_model_works_on_the_next_track_and_gives_the_same_files(tmp_path, monkeypatch):
    inputs = [song(tmp_path, f"{index}.wav", seed=index) for index in range(4)]
    threads = set()
    finish = separate_workflow.finish_track

    def spy(*arguments):
        threads.add(threading.current_thread().name)
        return finish(*arguments)

    monkeypatch.setattr(separate_workflow, "finish_track", spy)
    run(inputs, tmp_path / "three", jobs=3)
    run(inputs, tmp_path / "one", jobs=1)
    assert tree(tmp_path / "one") == tree(tmp_path / "three")
    for name in tree(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
    assert threads and all(name.startswith("encode") for name in threads)


def test_a_terminal_sees_a_bar_and_a_log_plain_lines(tmp_path, monkeypatch, capsys):
    run([song(tmp_path, scale=3.0)], tmp_path / "out")
    plain = capsys.readouterr()
    assert plain.out == ""
    assert "song: 1.1 s of audio," in plain.err and "x realtime" in plain.err
    assert "song: the input exceeds full scale" in plain.err and "\r" not in plain.err

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    class Slow(Shares):
        def predict_segments(self, batch):
            time.sleep(0.06)  # tqdm redraws every 0.1 s
            return super().predict_segments(batch)

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    run([song(tmp_path, channels=3, samples=30_000)], tmp_path / "out", Slow())
    assert "song:" in screen.getvalue() and "/58" in screen.getvalue() and "segment" in screen.getvalue()
    assert "x realtime" in screen.getvalue()
    # One file for both: a float wav holds the second in which it was written.
    again = [song(tmp_path)]
    run(again, tmp_path / "out2")
    run(again, tmp_path / "out2", skip_existing=True)
    assert "song: done before, skipped" in screen.getvalue()


def test_memory_does_not_grow_with_the_song(tmp_path):
    import tracemalloc

    def peak(seconds):
        path = song(tmp_path, samples=seconds * 8000, channels=1, rate=8000)
        tracemalloc.start()
        run([path], tmp_path / "out", Shares({"a": 0.5}, channels=1, sample_rate=4000), residual=True)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(2)
    assert peak(200) < 1.1 * peak(20)


def test_what_earlier_calls_wrote_beside_the_songs_is_no_song(tmp_path):
    song(tmp_path, "a.wav", samples=500)
    for settings in ({}, {}, {"format": "flac"}, {"stems": ["vocals"]}, {}):
        assert [track["track"] for track in run([tmp_path], tmp_path, **settings)["tracks"]] == ["a"]
    assert (tmp_path / "demo/a/vocals.wav").is_file() and (tmp_path / "demo/a/vocals.flac").is_file()
    with pytest.raises(UserError, match="holds nothing but outputs of earlier calls"):
        run([tmp_path / "demo"], tmp_path)


def test_stems_of_an_earlier_call_may_be_separated_further(tmp_path):
    run([song(tmp_path, "a.wav", samples=500)], tmp_path / "first")
    again = run([tmp_path / "first"], tmp_path / "second")["tracks"]
    assert [track["track"] for track in again] == [f"demo/a/{stem}" for stem in sorted(again[0]["outputs"])]


def test_an_empty_input_is_not_the_current_folder(tmp_path, monkeypatch):
    song(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, [""], "An input must not be empty")


def test_a_folder_of_the_outputs_may_lie_on_another_disk(tmp_path, monkeypatch):
    replace = os.replace

    def across(source, target):
        if "separate-" in str(source) and "separate-" not in str(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    path = song(tmp_path)
    run([path], tmp_path / "same")
    monkeypatch.setattr(separate_outputs.os, "replace", across)
    run([path], tmp_path / "other")
    assert tree(tmp_path / "other") == tree(tmp_path / "same")

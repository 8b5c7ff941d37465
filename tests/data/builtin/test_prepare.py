"""The tree on the disk: layout, exact sums, splits apart, continued after a stop, the same bytes for any number of workers."""

import fcntl
import hashlib
import importlib.util
import shutil
import threading
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from kseparation.audio.reading import read_audio
from kseparation.data.builtin import BuiltinSettings, prepare, prepare_builtin
from kseparation.data.builtin.form import STEMS
from kseparation.data.builtin.song_folder import song_folder, write_song
from kseparation.errors import UserError
from kseparation.storage.atomic import read_json

SONGS = {"train": 2, "validation": 1, "test": 1}
SYNTHETIC = BuiltinSettings(songs=SONGS, song_seconds=1.0, sample_rate=16000, renderer="synthetic", workers=1)
SAMPLED = BuiltinSettings(songs=SONGS, song_seconds=2.0, renderer="sampled", workers=2)


def fingerprints(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_builtin(SAMPLED, tmp_path_factory.mktemp("sampled"), progress=False)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_builtin(SYNTHETIC, tmp_path_factory.mktemp("synthetic"), progress=False)


@pytest.fixture(params=["sampled", "synthetic"])
def root(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_the_layout_is_that_of_musdb18_hq(root: Path) -> None:
    folders = sorted(str(path.parent.relative_to(root)) for path in root.glob("*/*/song.json"))
    assert folders == ["test/test_000", "train/train_000", "train/train_001", "validation/validation_000"]
    for folder in folders:
        assert {path.name for path in (root / folder).iterdir()} == {
            "song.json",
            "mixture.wav",
            *(f"{s}.wav" for s in STEMS),
        }


def test_the_mixture_is_the_sum_of_its_stems_exactly(root: Path) -> None:
    for folder in root.glob("*/*"):
        mixture, rate = read_audio(folder / "mixture.wav")
        stems = [read_audio(folder / f"{stem}.wav")[0] for stem in STEMS]
        record = read_json(folder / "song.json")
        assert rate == record["sample_rate"]
        assert mixture.shape == (round(record["seconds"] * rate), 2)
        np.testing.assert_array_equal(mixture, np.sum(stems, axis=0, dtype=np.float64).astype(np.float32))
        assert 0.85 < max(np.abs(audio).max() for audio in (mixture, *stems)) <= 0.92


def test_every_stem_is_audible(root: Path) -> None:
    for folder in root.glob("*/*"):
        for stem in STEMS:
            assert np.abs(read_audio(folder / f"{stem}.wav")[0]).max() > 0.02, folder / stem


def test_songs_of_different_splits_share_no_sound_no_voice_and_no_groove(root: Path) -> None:
    used = {}
    for split in SONGS:
        records = [read_json(path) for path in (root / split).glob("*/song.json")]
        used[split] = {name for record in records for name in (record["groove"], record["kit"], record["bass"])}
        used[split] |= {name for record in records for name in record["other"].values()}
        used[split] |= {record["voice"]["variant"] for record in records}
    for first, second in combinations(SONGS, 2):
        assert not used[first] & used[second]


def test_the_record_names_what_was_used_and_its_licences(root: Path) -> None:
    record = read_json(song_folder(root, "train", 0) / "song.json")
    assert {"tempo", "key", "scale", "progression", "groove", "sections", "kit", "bass", "other", "voice"} <= set(
        record
    )
    assert {"what", "from", "licence"} == set(record["sources"][0])
    assert ("GPL" in str(record["sources"])) == (record["renderer"] == "sampled")


def test_the_bytes_do_not_depend_on_the_number_of_workers(sampled: Path, tmp_path: Path) -> None:
    # One song of a larger set, made alone and in this process, equals the one made by a worker.
    write_song(SAMPLED, "sampled", tmp_path, "test", 0)
    alone = fingerprints(tmp_path / "test")
    assert alone == fingerprints(sampled / "test")


def test_a_second_call_makes_nothing(synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "write_song", lambda *_: pytest.fail("a song was made again"))
    assert prepare_builtin(SYNTHETIC, synthetic.parents[1], progress=False) == synthetic


def test_a_stopped_call_is_continued(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def interrupted(*arguments: object) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    def write(*arguments: object) -> None:
        made.append(arguments[3:])
        write_song(*arguments)

    monkeypatch.setattr(prepare, "write_song", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_builtin(SYNTHETIC, tmp_path, progress=False)
    assert made == [("train", 0), ("train", 1)]
    monkeypatch.setattr(prepare, "write_song", write)
    root = prepare_builtin(SYNTHETIC, tmp_path, progress=False)
    assert made[2:] == [("validation", 0), ("test", 0)]
    assert fingerprints(root) == fingerprints(synthetic)


def test_another_seed_gives_other_music(synthetic: Path, tmp_path: Path) -> None:
    other = BuiltinSettings(1, {"train": 1}, 1.0, 16000, "synthetic", 1)
    changed, same = fingerprints(prepare_builtin(other, tmp_path, progress=False)), fingerprints(synthetic)
    assert all(changed[name] != same[name] for name in changed)


def test_without_the_extra_it_says_that_it_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyworld" else find_spec(name))
    settings = BuiltinSettings(songs={"train": 1}, song_seconds=0.5, sample_rate=8000, workers=1)
    root = prepare_builtin(settings, tmp_path)
    captured = capsys.readouterr()
    assert "synthetic renderer, because pyworld-prebuilt not installed" in captured.err
    assert "built-in music" in captured.err
    assert captured.out == ""
    assert read_json(song_folder(root, "train", 0) / "song.json")["renderer"] == "synthetic"


def test_a_second_process_waits_for_the_first(
    synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "builtin" / synthetic.name
    root.parent.mkdir()
    with open(root.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The other process brings the songs, then lets go.
        finish = threading.Timer(0.3, lambda: (shutil.copytree(synthetic, root, dirs_exist_ok=True), lock.close()))
        finish.start()
        made = prepare_builtin(SYNTHETIC, tmp_path, progress=False)
        finish.join()
    assert "waiting for another process" in capsys.readouterr().err
    assert fingerprints(made) == fingerprints(synthetic)


def test_what_a_killed_process_left_is_removed(synthetic: Path, tmp_path: Path) -> None:
    left = tmp_path / "builtin" / synthetic.name / "train" / ".tmp-train_000-1-abcd"
    left.mkdir(parents=True)
    assert fingerprints(prepare_builtin(SYNTHETIC, tmp_path, progress=False)) == fingerprints(synthetic)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        prepare_builtin(SYNTHETIC, tmp_path / "file", progress=False)

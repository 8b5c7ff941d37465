import os
from pathlib import Path

import numpy as np
import pytest

from kseparation.audio.files import read_audio, write_audio
from kseparation.data.track_folder import TrackFolder
from kseparation.errors import UserError
from tests.songs import SAMPLE_RATE, STEMS, write_songs


def names(folder: TrackFolder, split: str) -> list[str]:
    return [track.name for track in folder.tracks(split)]


def opened(root: Path, **arguments) -> TrackFolder:
    return TrackFolder(str(root), STEMS, SAMPLE_RATE, 2, **arguments)


@pytest.mark.parametrize("validation", ["validation", "valid"])
def test_the_three_splits(tmp_path: Path, validation: str) -> None:
    root = write_songs(tmp_path, {"train": {"b": 50, "a": 60}, validation: {"v": 70}, "test": {"t": 80}})
    folder = opened(root)
    assert (names(folder, "train"), names(folder, "validation"), names(folder, "test")) == (["a", "b"], ["v"], ["t"])
    assert folder.tracks("train")[0].samples == 60


def test_a_mixture_beside_the_stems_is_used(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {"a": 50}, "test": {"t": 50}})
    write_audio(root / "test" / "t" / "mixture.wav", np.zeros((50, 2), "float32"), SAMPLE_RATE)
    assert np.all(opened(root).tracks("test")[0].read_mixture() == 0)
    assert np.any(opened(root, validation_split=0.0).tracks("train")[0].read_mixture() != 0)


def test_capital_endings_are_read_and_hidden_files_are_not(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"test": {"t": 50}}, stems=(*STEMS, "guitar"))
    song = root / "test" / "t"
    (song / "guitar.wav").rename(song / "guitar.WAV")
    (song / "vocals.wav").rename(song / "vocals.Wav")
    (song / "._drums.wav").write_bytes(b"of another system")
    track = opened(root).tracks("test")[0]
    assert track.stems["vocals"].name == "vocals.Wav" and [file.name for file in track.others] == ["guitar.WAV"]


def test_of_two_formats_wav_is_read(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"test": {"t": 50}})
    write_audio(root / "test" / "t" / "drums.flac", np.zeros((50, 2), "float32"), SAMPLE_RATE, format="flac")
    assert opened(root).tracks("test")[0].stems["drums"].name == "drums.wav"


def test_other_formats_rates_and_channel_counts_are_read(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"test": {"t": 400}}, stems=("vocals",), channels=1)
    write_audio(root / "test" / "t" / "drums.flac", np.full((800, 2), 0.25, "float32"), 2 * SAMPLE_RATE, format="flac")
    track = opened(root).tracks("test")[0]
    assert (track.samples, track.read("drums").shape, track.read("vocals").shape) == (400, (400, 2), (400, 2))


def test_hidden_folders_and_files_are_no_songs(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"test": {"t": 50, ".hidden": 50}})
    (root / "test" / "readme.txt").write_text("about the songs")
    assert names(opened(root), "test") == ["t"]


def test_songs_are_put_aside_where_there_is_no_validation(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {f"song {index}": 20 for index in range(20)}})
    folder = opened(root, validation_split=0.2)
    aside = names(folder, "validation")
    assert 1 <= len(aside) <= 9
    assert sorted([*names(folder, "train"), *aside]) == sorted(f"song {index}" for index in range(20))


def test_added_songs_never_move_another_one(tmp_path: Path) -> None:
    root = tmp_path / "songs"
    before = {"train": set(), "validation": set()}
    for index in range(30):
        write_songs(root, {"train": {f"song {index}": 10}})
        if index < 8:
            continue
        folder = opened(root, validation_split=0.25)
        now = {split: set(names(folder, split)) for split in before}
        assert not now["train"] & before["validation"] and not now["validation"] & before["train"]
        before = now
    assert 2 <= len(before["validation"]) <= 14


@pytest.mark.parametrize(("split", "aside"), [(1e-9, 1), (0.999999, 2)])
def test_each_side_of_a_split_has_a_song(tmp_path: Path, split: float, aside: int) -> None:
    folder = opened(write_songs(tmp_path, {"train": {"a": 20, "b": 20, "c": 20}}), validation_split=split)
    assert (len(names(folder, "validation")), len(names(folder, "train"))) == (aside, 3 - aside)


def test_a_single_song_cannot_be_split(tmp_path: Path) -> None:
    folder = opened(write_songs(tmp_path, {"train": {"a": 20}}))
    assert names(folder, "train") == ["a"]
    with pytest.raises(UserError, match="0 tracks found for `validation`.*two songs or more in train and a `data.validation_split` above 0 .here 0.1."):
        folder.tracks("validation")


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`data.root` is not a folder. Received: .*nowhere. Give a folder that holds train/<song>/<stem>.wav"):
        opened(tmp_path / "nowhere")


def test_no_songs_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="0 tracks found for `train`. Required: folders of songs in .*train, each with <stem>.wav"):
        opened(tmp_path).tracks("train")


def test_no_validation_songs_are_an_error(tmp_path: Path) -> None:
    folder = opened(write_songs(tmp_path, {"train": {"a": 20, "b": 20}}), validation_split=0.0)
    assert names(folder, "train") == ["a", "b"]
    with pytest.raises(UserError, match="0 tracks found for `validation`.*validation or .*valid"):
        folder.tracks("validation")


def test_a_song_without_a_stem_is_named(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {"a": 20}}, stems=("vocals",))
    with pytest.raises(UserError, match="A song lacks the stem `drums`: .*train/a. Found: vocals.wav. Required: vocals, drums."):
        opened(root, validation_split=0.0).tracks("train")


def test_a_mixture_under_another_name_is_not_counted_twice(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {"a": 30000}}, stems=("vocals", "drums", "bass"))
    song = root / "train" / "a"
    assert opened(root, validation_split=0.0).tracks("train")[0].others == (song / "bass.wav",)
    parts = opened(root, validation_split=0.0).tracks("train")[0]
    for level in (1.0, 0.6, 1.5):  # mastered to another level
        write_audio(song / "mix.wav", level * parts.read_mixture(), SAMPLE_RATE, bits="32f")
        with pytest.raises(UserError, match="mix.wav` is the sum of the other files of the song, and would be heard twice. Rename it to mixture.wav"):
            opened(root, validation_split=0.0).tracks("train")
    write_audio(song / "mix.wav", parts.read_mixture()[::-1], SAMPLE_RATE, bits="32f")
    assert len(opened(root, validation_split=0.0).tracks("train")[0].others) == 2


def one_song(tmp_path: Path, *names: str, **sums: tuple[str, ...]):
    """A folder with one song of noise under these names, and sums of them under others."""
    root = write_songs(tmp_path, {"train": {"a": 30000}}, stems=names)
    audio = {name: read_audio(root / "train" / "a" / f"{name}.wav")[0] for name in names}
    for name, members in sums.items():
        write_audio(root / "train" / "a" / f"{name}.wav", sum(audio[member] for member in members), SAMPLE_RATE, bits="32f")
    return lambda *stems: [file.stem for file in TrackFolder(str(root), stems, SAMPLE_RATE, 2, 0.0).tracks("train")[0].others]


@pytest.mark.parametrize("name", ["accompaniment", "instrumental", "no_vocals"])
def test_what_a_song_of_two_files_holds_beside_its_stem_is_the_rest(tmp_path: Path, name: str) -> None:
    others = one_song(tmp_path, "vocals", name)
    assert others("vocals") == [name]
    assert others("vocals", name) == []


def test_sums_of_other_files_are_no_sources(tmp_path: Path) -> None:
    others = one_song(tmp_path, "vocals", "drums", "bass", accompaniment=("drums", "bass"), no_drums=("vocals", "bass"))
    assert others("vocals") == ["bass", "drums"]
    assert others("vocals", "drums") == ["bass"]
    assert others("vocals", "accompaniment") == []


def test_a_sum_that_holds_more_leaves_the_mixture_unknown(tmp_path: Path) -> None:
    others = one_song(tmp_path, "vocals", "drums", "accompaniment")
    for stems in (("vocals",), ("drums",), ("vocals", "drums")):
        with pytest.raises(UserError, match="accompaniment.wav` is not the sum of the other files of the song but vocals.* Add a file mixture.wav"):
            others(*stems)


def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {os.fsdecode(b"caf\xe9"): 20, "b": 20}})
    songs = opened(root, validation_split=0.5)
    assert {*names(songs, "train"), *names(songs, "validation")} == {os.fsdecode(b"caf\xe9"), "b"}

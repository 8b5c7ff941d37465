from pathlib import Path

import pytest

from kseparation.data.builtin_music import BuiltinMusic


def test_songs_are_made_in_the_cache_and_read_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSEPARATION_CACHE", str(tmp_path))
    counts = {"train": 1, "validation": 1, "test": 1}
    music = BuiltinMusic(stems=("vocals", "drums"), sample_rate=8000, channels=1, songs=counts, song_seconds=3.0, seed=4, renderer="synthetic")
    assert tmp_path in music.root.parents
    tracks = {split: music.tracks(split) for split in counts}
    assert {split: len(songs) for split, songs in tracks.items()} == counts
    assert tracks["train"][0].read("drums").shape == (tracks["train"][0].samples, 1)
    assert tracks["train"][0].samples >= 3 * 8000

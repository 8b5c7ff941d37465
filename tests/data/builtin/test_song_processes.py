"""Processes side by side: they work from any caller, and their errors arrive."""

import subprocess
import sys
from pathlib import Path

import pytest

from kseparation.data.builtin import song_processes
from kseparation.data.builtin.settings import BuiltinSettings
from kseparation.data.builtin.song_folder import song_folder
from kseparation.errors import MachineError, UserError

SETTINGS = BuiltinSettings(songs={"train": 3}, song_seconds=0.3, sample_rate=8000, renderer="synthetic")
JOBS = [("train", index) for index in range(3)]


def test_it_works_from_a_script_without_a_main_guard(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from kseparation.data.builtin import BuiltinSettings, prepare_builtin\n"
        "settings = BuiltinSettings(songs={'train': 2}, song_seconds=0.3, sample_rate=8000, renderer='synthetic')\n"
        f"print(prepare_builtin(settings, Path({str(tmp_path)!r})))\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-"], input=script, cwd=root, capture_output=True, text=True, check=True)
    assert len(list(Path(ran.stdout.strip()).glob("train/*/song.json"))) == 2


def test_the_error_of_a_process_arrives_with_its_kind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        song_processes.make_side_by_side(SETTINGS, "synthetic", tmp_path / "file", JOBS, 2, lambda: None)


def test_a_process_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song_processes.sys, "executable", "/bin/false")
    with pytest.raises(MachineError, match="ended before `train` song [01] was made. Received: exit code 1"):
        song_processes.make_side_by_side(SETTINGS, "synthetic", tmp_path, JOBS, 2, lambda: None)


def test_an_interrupt_leaves_whole_songs_only(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        song_processes.make_side_by_side(SETTINGS, "synthetic", tmp_path, JOBS, 1, interrupt)
    whole = [path for path in tmp_path.glob("train/train_*") if path.is_dir()]
    assert song_folder(tmp_path, "train", 0) in whole
    assert all(len(list(folder.iterdir())) == 6 for folder in whole)

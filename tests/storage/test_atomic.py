import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from kseparation.errors import MachineError, UserError
from kseparation.storage import atomic
from kseparation.storage.atomic import (
    atomic_file,
    atomic_folder,
    explained_write_errors,
    read_json,
    remove_temporary,
    write_json,
    write_text_atomic,
)


class Killed(BaseException):
    pass


def test_a_file_appears_whole_and_alone(tmp_path):
    with atomic_file(tmp_path / "x" / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "x" / "a.txt").exists()
    assert os.listdir(tmp_path / "x") == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, step):
    (tmp_path / "a.txt").write_text("old")

    def die(*_):
        raise Killed

    monkeypatch.setattr(atomic.os, step, die)
    with pytest.raises(Killed):
        write_text_atomic(tmp_path / "a.txt", "new")
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(atomic.os, "fsync", lambda _: events.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(atomic.os, "replace", lambda a, b: (events.append("replace"), replace(a, b)))
    write_text_atomic(tmp_path / "a", "x")
    assert events == ["fsync", "replace", "fsync"]


def test_a_folder_appears_whole_and_replaces_another(tmp_path):
    for content in ("one", "two"):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / "a").write_text(content)
        assert (tmp_path / "f" / "sub" / "a").read_text() == content
    assert os.listdir(tmp_path) == ["f"]


def test_an_exception_leaves_the_old_folder(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(KeyError):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "a").touch()
            raise KeyError
    assert os.listdir(tmp_path) == ["f"] and os.listdir(tmp_path / "f") == []


@pytest.mark.parametrize("count", [0, 1])
def test_killed_between_the_renames_one_of_the_two_is_complete(tmp_path, monkeypatch, count):
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("old")
    rename, calls = os.rename, []

    def die_later(source, target):
        if len(calls) == count:
            raise Killed
        calls.append(source)
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", die_later)
    with pytest.raises(Killed):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "a").write_text("new")
    left = [path.read_text() for path in tmp_path.glob("*/a")]
    assert left == ["old"]


def test_a_folder_of_the_users_with_a_similar_name_is_not_touched(tmp_path):
    (tmp_path / "f.old").mkdir()
    for _ in range(2):
        with atomic_folder(tmp_path / "f"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["f", "f.old"]


def test_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / ".tmp-5-ab").mkdir()
    (tmp_path / ".tmp-5-ab" / "x").touch()
    (tmp_path / ".tmp-6-cd.json").touch()
    (tmp_path / "keep").touch()
    remove_temporary(tmp_path)
    assert os.listdir(tmp_path) == ["keep"]


@pytest.mark.parametrize(
    "number, kind, words",
    [
        (errno.ENOSPC, MachineError, "No space left on device. Free space"),
        (errno.EACCES, UserError, "Permission denied. Choose another place"),
    ],
)
def test_the_systems_refusal_is_explained(number, kind, words):
    with pytest.raises(kind, match=f"`out/a` cannot be written: {words}"):
        with explained_write_errors("out/a"):
            raise OSError(number, os.strerror(number))


def test_an_error_about_another_file_passes_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError):
        with atomic_file(tmp_path / "a"):
            open("/missing/input")
    assert os.listdir(tmp_path) == []


def test_a_file_as_parent(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "c"):
        with pytest.raises(UserError, match="cannot be written: (Not a directory|File exists)"):
            write_text_atomic(path, "x")
        with pytest.raises(UserError, match="cannot be written"):
            with atomic_folder(path):
                pass


def test_json_keeps_order_and_has_null_for_what_is_no_number(tmp_path):
    value = {
        "z": float("nan"),
        "a": [np.float32(0.5), np.inf, np.int64(3), np.bool_(True)],
        "array": np.array([1.0, np.nan]),
        "path": Path("x/y"),
        "name": "Ä",
        3: None,
    }
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    expected = {"z": None, "a": [0.5, None, 3, True], "array": [1.0, None], "path": "x/y", "name": "Ä", "3": None}
    assert read_json(tmp_path / "a.json") == expected
    assert list(json.loads(text)) == list(expected)
    assert '\n  "z": null' in text and "Ä" in text


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="a.json` is not valid JSON. Received: "):
        read_json(tmp_path / "a.json")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_json(tmp_path / "a.json")


def test_a_file_name_that_is_not_utf8_comes_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    write_json(tmp_path / "a.json", {"track": name, "other": "café"})
    assert read_json(tmp_path / "a.json") == {"track": name, "other": "café"}

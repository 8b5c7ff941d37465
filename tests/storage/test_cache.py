from pathlib import Path

import pytest

from kseparation.errors import UserError
from kseparation.storage.cache import cache_folder


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.delenv("KSEPARATION_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_the_three_places_in_order(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "home" / ".cache" / "kseparation"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "kseparation"
    monkeypatch.setenv("KSEPARATION_CACHE", "~/own")
    assert cache_folder() == Path.home() / "own"
    assert cache_folder().is_dir()


def test_a_place_that_cannot_be(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KSEPARATION_CACHE", str(tmp_path / "file" / "x"))
    with pytest.raises(UserError, match="cannot be written"):
        cache_folder()

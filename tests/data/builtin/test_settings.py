"""Settings are checked when they are made, and their digest names the cache."""

import importlib.util

import pytest

from kseparation.data.builtin.settings import (
    SPLITS,
    BuiltinSettings,
    missing_packages,
    resolve_renderer,
    settings_digest,
)
from kseparation.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"songs": {"trian": 2}}, r"`songs` has an unknown split. Received: 'trian'. Did you mean `train`\?"),
        ({"songs": {"train": 1, "test": -1}}, "`songs` must not be negative. Received: test=-1"),
        ({"songs": {"train": 0, "test": 1}}, "`songs` needs at least one in `train`"),
        ({"song_seconds": 0.0}, "`song_seconds` must be positive. Received: song_seconds=0.0"),
        ({"song_seconds": float("nan")}, "`song_seconds` must be positive"),
        ({"song_seconds": float("inf")}, "`song_seconds` must be positive"),
        ({"sample_rate": 4000}, "`sample_rate` must be 8000 to 192000 Hz. Received: sample_rate=4000"),
        ({"renderer": "sampler"}, "`renderer` is unknown. Received: renderer='sampler'. Did you mean `sampled`"),
        ({"workers": 0}, "`workers` must be at least 1. Received: workers=0"),
        ({"seed": -1}, "`seed` must not be negative. Received: seed=-1"),
    ],
)
def test_wrong_values_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        BuiltinSettings(**arguments)


def test_defaults_cover_every_split() -> None:
    assert tuple(BuiltinSettings().songs) == SPLITS


def test_the_digest_changes_with_what_changes_the_bytes_and_not_with_the_workers() -> None:
    base = BuiltinSettings()
    assert settings_digest(base, "sampled") == settings_digest(BuiltinSettings(workers=7), "sampled")
    others = [BuiltinSettings(seed=1), BuiltinSettings(song_seconds=3.0), BuiltinSettings(sample_rate=16000)]
    digests = {settings_digest(settings, "sampled") for settings in [base, *others]}
    assert len(digests | {settings_digest(base, "synthetic")}) == 5


def test_a_larger_set_keeps_the_songs_of_a_smaller_one_apart() -> None:
    small = BuiltinSettings(songs={"train": 1})
    assert settings_digest(small, "sampled") != settings_digest(BuiltinSettings(songs={"train": 2}), "sampled")


@pytest.fixture
def without_midirenderer(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "midirenderer" else find_spec(name))


def test_auto_falls_back_and_says_why(without_midirenderer: None) -> None:
    renderer, reason = resolve_renderer("auto")
    assert renderer == "synthetic"
    assert "midirenderer not installed" in reason
    assert "pip install 'kseparation[music]'" in reason


def test_sampled_without_its_packages_names_them(without_midirenderer: None) -> None:
    with pytest.raises(
        UserError, match=r"missing midirenderer. Install them with `pip install 'kseparation\[music\]'`"
    ):
        resolve_renderer("sampled")


def test_synthetic_asks_for_nothing(without_midirenderer: None) -> None:
    assert resolve_renderer("synthetic") == ("synthetic", None)


def test_with_all_packages_auto_is_sampled() -> None:
    assert missing_packages() == ()
    assert resolve_renderer("auto") == ("sampled", None)

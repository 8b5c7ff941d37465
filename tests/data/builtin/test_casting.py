"""Sounds, voices and grooves take turns inside a split and never cross into another."""

import numpy as np
import pytest

from kseparation.data.builtin.casting import choose_cast, take_turns
from kseparation.data.builtin.settings import SPLITS


def test_every_option_comes_once_before_one_comes_again() -> None:
    options = tuple("abcdefg")
    songs = [take_turns(5, "train", "kit", index, options) for index in range(21)]
    for lap in range(3):
        assert sorted(songs[7 * lap : 7 * lap + 7]) == list(options)
    assert songs[:7] != songs[7:14]


def test_turns_depend_on_seed_split_and_subject() -> None:
    options = tuple(range(30))
    order = [take_turns(0, "train", "kit", index, options) for index in range(30)]
    for other in ((1, "train", "kit"), (0, "test", "kit"), (0, "train", "bass")):
        assert [take_turns(*other, index, options) for index in range(30)] != order


@pytest.mark.parametrize("synthetic", [True, False])
def test_splits_share_no_groove_no_sound_and_no_voice(synthetic: bool) -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        casts = [choose_cast(np.random.default_rng(n), 0, split, n, synthetic, 4) for n in range(8 if synthetic else 3)]
        seen[split] = {cast.groove.name for cast in casts} | {cast.kit.label for cast in casts}
        seen[split] |= {cast.bass.label for cast in casts}
        seen[split] |= {sound.label for cast in casts for sound in cast.other.values()}
        for key in ("variant",) if synthetic else ("variant", "language"):
            seen[split] |= {f"{key} {cast.singer.description[key]}" for cast in casts}
    assert not seen["train"] & (seen["validation"] | seen["test"])
    assert not seen["validation"] & seen["test"]


def test_centres_cover_bass_and_every_role() -> None:
    cast = choose_cast(np.random.default_rng(0), 0, "train", 0, True, 4)
    assert set(cast.centres) == set(cast.other) | {"bass"}
    assert cast.centres["bass"] < 40

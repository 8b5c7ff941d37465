"""Every groove can be played: patterns fill a bar, pieces are known, bass figures exist."""

import numpy as np
import pytest

from kseparation.data.builtin.bass_figures import draw_figures
from kseparation.data.builtin.grooves import GROOVES, GrooveFamily
from kseparation.data.builtin.instruments import DRUM_KEYS

FAMILIES = [family for families in GROOVES.values() for family in families]


def patterns(family: GrooveFamily) -> list[str]:
    return [*family.kick, *family.snare, *(pattern for _, pattern in (*family.cymbal, *family.colour))]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_patterns_fill_a_bar_with_known_pieces(family: GrooveFamily) -> None:
    steps = family.beats * family.steps_per_beat
    assert {len(pattern) for pattern in patterns(family)} == {steps}
    assert set("".join(patterns(family))) <= set("Xxo-")
    assert {family.backbeat, *(piece for piece, _ in (*family.cymbal, *family.colour))} <= set(DRUM_KEYS)
    assert 60 <= family.tempo[0] < family.tempo[1] <= 170


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_bass_figure_of_a_family_fits_its_bar(family: GrooveFamily) -> None:
    steps = family.beats * family.steps_per_beat
    for name in family.bass:
        for seed in range(6):
            for figure in draw_figures(np.random.default_rng(seed), name, steps, family.kick[0]):
                assert len(figure) == steps
                assert set(figure) <= set("R5837n.-")


def test_no_family_is_in_two_splits() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    assert min(len(families) for families in GROOVES.values()) >= 4

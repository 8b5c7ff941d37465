"""Bass figures become notes of the chord."""

import numpy as np

from kseparation.data.builtin.bass_figures import draw_figures, play_figure
from kseparation.data.builtin.harmony import Harmony
from kseparation.data.builtin.score import Grid

GRID = Grid(tempo=120.0, beats=4, steps_per_beat=4)
C_THEN_F = Harmony(0, "major", (0, 3), 1, False)


def pitches(figure: str, bar: int = 0) -> list[int]:
    return [note.pitch for note in play_figure(figure, bar, GRID, C_THEN_F, 36.0)]


def test_symbols_are_degrees_of_the_chord() -> None:
    assert pitches("R...3...5...8...") == [36, 40, 43, 48]


def test_the_last_note_leads_to_the_next_root_from_below() -> None:
    assert pitches("R...........n...") == [36, 40]  # F, 41, follows
    assert pitches("R...........n...", bar=1) == [41, 38]  # C, 36, follows


def test_dots_hold_and_dashes_rest() -> None:
    held, short = play_figure("R.......5-------", 0, GRID, C_THEN_F, 36.0)
    assert (held.start_seconds, short.start_seconds) == (0.0, 1.0)
    assert 0.9 < held.duration_seconds < 1.0
    assert short.duration_seconds < GRID.step_seconds


def test_the_kick_figure_plays_with_the_bass_drum() -> None:
    first, second = draw_figures(np.random.default_rng(0), "kick", 16, "X-----x-X-------")
    assert [step for step, symbol in enumerate(first) if symbol == "R"] == [0, 6, 8]
    assert second.endswith("n.")

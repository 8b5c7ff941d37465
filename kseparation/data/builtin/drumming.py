"""Turns a groove family into the strokes of a song: variation from bar to bar, fills and crashes."""

import numpy as np

from kseparation.data.builtin.grooves import GrooveFamily
from kseparation.data.builtin.score import DrumHit, Grid, Section

_VELOCITY = {"X": 112, "x": 94, "o": 48}
_TOMS = ("high_tom", "middle_tom", "low_tom")


def choose(rng: np.random.Generator, options: tuple):
    """Draws one of the options."""
    return options[rng.integers(len(options))]


def drum_part(
    rng: np.random.Generator, family: GrooveFamily, kick: str, grid: Grid, sections: tuple[Section, ...]
) -> list[DrumHit]:
    """Returns the strokes of the song, without humanisation.

    Args:
        rng: source of all choices.
        family: the style.
        kick: the bass drum pattern of most sections; others draw their own.
        grid: bars and steps.
        sections: the form; only sections with drums are played.
    """
    layers = {name: _draw_layers(rng, family, kick) for name in sorted({section.name for section in sections})}
    hits: list[DrumHit] = []
    for section in sections:
        if "drums" not in section.stems:
            continue
        layer = layers[section.name]
        if section.first_bar > 0 and rng.random() < 0.6:
            hits.append(DrumHit(grid.seconds(section.first_bar, 0), "crash", 104))
        fill = int(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3])) * grid.steps_per_beat
        for bar in range(section.first_bar, section.end_bar):
            steps = grid.steps - (fill if bar == section.end_bar - 1 else 0)
            for piece, pattern in layer:
                hits += _play(rng, piece, pattern[:steps], bar, grid)
        hits += _fill(rng, section.end_bar - 1, grid, fill)
    return hits


def _draw_layers(rng: np.random.Generator, family: GrooveFamily, kick: str) -> list[tuple[str, str]]:
    pattern = kick if rng.random() < 0.7 else choose(rng, family.kick)
    layers = [("kick", pattern), (family.backbeat, choose(rng, family.snare)), choose(rng, family.cymbal)]
    if family.colour and rng.random() < 0.6:
        layers.append(choose(rng, family.colour))
    return layers


def _play(rng: np.random.Generator, piece: str, pattern: str, bar: int, grid: Grid) -> list[DrumHit]:
    hits = []
    for step, symbol in enumerate(pattern):
        if symbol == "-":
            # Now and then a ghost stroke off the beat, so that no two bars are quite the same.
            if piece in ("kick", "snare") and step % grid.steps_per_beat and rng.random() < 0.015:
                hits.append(DrumHit(grid.seconds(bar, step), piece, 60))
            continue
        if symbol != "X" and rng.random() < 0.04:
            continue
        hits.append(DrumHit(grid.seconds(bar, step), piece, _VELOCITY[symbol]))
    return hits


def _fill(rng: np.random.Generator, bar: int, grid: Grid, steps: int) -> list[DrumHit]:
    hits = []
    snare_only = rng.random() < 0.35
    for count in range(steps):
        if count == 0 or rng.random() < 0.75:
            piece = "snare" if snare_only or count < steps // 4 else _TOMS[min(2, 3 * count // steps)]
            hits.append(DrumHit(grid.seconds(bar, grid.steps - steps + count), piece, 88 + min(24, 3 * count)))
    return hits

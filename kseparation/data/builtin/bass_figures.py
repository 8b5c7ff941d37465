"""Bass figures, one bar each.

`R` root, `5` fifth, `8` octave, `3` third, `7` the note below the octave, `n` a step towards the next root; `.` holds,
`-` rests.
"""

import re

import numpy as np

from kseparation.data.builtin.harmony import Chord, Harmony, nearest_pitch
from kseparation.data.builtin.score import Grid, Note

_SIXTEEN: dict[str, tuple[str, ...]] = {
    "whole": ("R...............", "R.......R.......", "R...........R.n."),
    "sustained": ("R.....R...R.....", "R.........R...5.", "R......R........"),
    "eighths": ("R-R-R-R-R-R-R-R-", "R.R.R.R.R.R.R.n.", "R-R-R-R-5-5-R-n-"),
    "sixteenths": ("R-RRR-RRR-RRR-RR", "RRRRRRRRRRRRRRnn"),
    "root_fifth": ("R.......5.......", "R...R...5...5...", "R-----R-5-----n-"),
    "octaves": ("R-8-R-8-R-8-R-8-", "R-8-R-8-5-8-R-8-", "R--8--R-R--8--n-"),
    "offbeat": ("--R---R---R---R-", "--R.--R.--R.--8."),
    "syncopated": ("R--R--5---R-8-n-", "R-----R--R-5--R-", "R--5--8---7-5---"),
    "funk": ("R--R--8-R--75-n-", "R-R---8--R-R7-5-", "R---8-R--R--5-7-"),
    "slap": ("R--8-R-8--R-8-n-", "R-8-R--8R-8--5-8"),
    "walking": ("R...3...5...n...", "R...5...8...n...", "R...3...5...7..."),
    "bossa": ("R.....5.5.....R.", "R.....5.8.....n."),
    "tumbao": ("------5.....8...", "R-----5-----8..."),
    "reggae": ("----R.R.5---R.--", "R..R..5-----R-R-", "--R.R...5.3.R---"),
    "shuffle": ("R...R...5...5...", "R--R3--5"),
}
_TWELVE: dict[str, tuple[str, ...]] = {
    "whole": ("R...........", "R.....R...n."),
    "shuffle": ("R-RR-R5-55-5", "R-RR-R5-57-n", "R..R.R5..5.n"),
    "walking": ("R..3..5..n..", "R..5..8..n..", "R..3..5..7.5"),
    "root_fifth": ("R...5...5...", "R.......5.n."),
}


def draw_figures(rng: np.random.Generator, name: str, steps: int, kick: str) -> tuple[str, str]:
    """Draws two variants of a figure for one song; `kick` follows the bass drum, whose pattern is given."""
    if name == "kick" or (steps == 12 and name not in _TWELVE):
        locked = "".join("R" if stroke in "Xx" else "." for stroke in kick)
        locked = locked if "R" in locked[:4] else "R" + locked[1:]
        return locked, locked[:-2] + "n."
    choices = [figure for figure in (_TWELVE if steps == 12 else _SIXTEEN)[name] if len(figure) == steps]
    legato = int(rng.choice([0, 1, 3], p=[0.4, 0.3, 0.3]))
    first, second = (_hold(choices[place], legato) for place in rng.choice(len(choices), 2))
    return first, second


def _hold(figure: str, steps: int) -> str:
    """Lets each note last up to `steps` steps into the rest behind it."""
    return re.sub(f"(?<=[R5837n.])-{{1,{steps}}}", lambda rest: "." * len(rest.group()), figure) if steps else figure


def play_figure(figure: str, bar: int, grid: Grid, harmony: Harmony, centre: float) -> list[Note]:
    """Returns the notes of one bar, without humanisation."""
    notes = []
    for step, symbol in enumerate(figure):
        if symbol in ".-":
            continue
        held = 1
        while step + held < len(figure) and figure[step + held] == ".":
            held += 1
        chord = harmony.chord(bar, step / grid.steps)
        pitch = _pitch(symbol, chord, harmony.chord(bar + 1), centre)
        start = grid.seconds(bar, step)
        length = (held - 0.08 if held > 1 else 0.82) * grid.step_seconds
        notes.append(Note(start, length, pitch, 104 if step % grid.steps_per_beat == 0 else 92))
    return notes


def _pitch(symbol: str, chord: Chord, following: Chord, centre: float) -> int:
    root = nearest_pitch(chord.root, centre)
    if symbol == "n":
        target = nearest_pitch(following.root, root)
        return target - 1 if target > root else target + (2 if target < root else -2)
    third = (chord.tones[1] - chord.root) % 12
    fifth = (chord.tones[2] - chord.root) % 12
    return root + {"R": 0, "3": third, "5": fifth, "7": 10, "8": 12}[symbol]

"""The form of a song: sections of whole bars and which stems play in each."""

import numpy as np

from kseparation.data.builtin.score import Section

STEMS = ("vocals", "drums", "bass", "other")

# Section -> chance that each stem is silent in it.
_SILENT = {
    "intro": {"vocals": 1.0, "drums": 0.35, "bass": 0.25, "other": 0.08},
    "verse": {"vocals": 0.0, "drums": 0.05, "bass": 0.05, "other": 0.08},
    "chorus": {"vocals": 0.0, "drums": 0.0, "bass": 0.02, "other": 0.0},
    "break": {"vocals": 0.3, "drums": 0.45, "bass": 0.3, "other": 0.1},
    "solo": {"vocals": 1.0, "drums": 0.04, "bass": 0.04, "other": 0.0},
}
_FORMS = (
    ("intro", "verse", "chorus", "verse", "chorus", "break", "chorus"),
    ("verse", "chorus", "break", "verse", "chorus", "solo", "chorus"),
    ("verse", "verse", "chorus", "solo", "verse", "chorus", "break"),
    ("chorus", "verse", "break", "chorus", "verse", "solo", "chorus"),
    ("intro", "verse", "break", "verse", "chorus", "chorus", "solo"),
)


def draw_form(rng: np.random.Generator, bars: int) -> tuple[Section, ...]:
    """Draws sections of two or four bars that cover the song; in at least one of them all four stems play.

    Args:
        rng: source of all choices.
        bars: length of the song in bars.
    """
    names = _FORMS[rng.integers(len(_FORMS))]
    sections: list[Section] = []
    first = 0
    while first < bars:
        name = names[len(sections) % len(names)] if bars > 2 else "chorus"
        length = min(int(rng.choice([2, 4], p=[0.4, 0.6])) if bars > 6 else 2, bars - first)
        silent = {stem for stem in STEMS if rng.random() < _SILENT[name][stem]}
        sections.append(Section(name, first, length, _at_least_two(frozenset(STEMS) - silent)))
        first += length
    if not any(len(section.stems) == len(STEMS) for section in sections):
        fullest = max(range(len(sections)), key=lambda place: (len(sections[place].stems), sections[place].bars))
        full = sections[fullest]
        sections[fullest] = Section("chorus", full.first_bar, full.bars, frozenset(STEMS))
    return tuple(sections)


def _at_least_two(stems: frozenset[str]) -> frozenset[str]:
    return stems if len(stems) > 1 else stems | {"drums", "other"}

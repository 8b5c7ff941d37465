"""What a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Excerpt:
    """A few seconds of one song, to be heard and seen.

    Args:
        track: name of the song.
        start_seconds: where the excerpt begins.
        sample_rate: of all signals, in Hz.
        mixture: what the model heard, float32 `(samples, channels)`.
        references: the true stems by name, same shape each.
        estimates: the separated stems by name, same shape each.
    """

    track: str
    start_seconds: float
    sample_rate: int
    mixture: np.ndarray = field(repr=False)
    references: Mapping[str, np.ndarray] = field(repr=False)
    estimates: Mapping[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class CellCodes:
    """The codes of cells, to be looked at.

    Args:
        scores: what `evaluate` returns.
        points: coordinates of some cells along their first principal components, `(cells, 2)`.
        groupings: title of each panel and the group of each of these cells, `(cells,)`.
        by_condition: which conditions the cells of each code come from.
    """

    scores: Mapping[str, Any]
    points: np.ndarray = field(repr=False)
    groupings: Mapping[str, np.ndarray] = field(repr=False)
    by_condition: Any = field(repr=False)


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; what is left out has no section.

    Args:
        title: headline of the page.
        summary: what `evaluate` returns, None for a run without an evaluation.
        history: rows of a run's `metrics.jsonl`.
        cells: codes of cells, None where there are none.
        excerpts: songs to hear, one or two.
        facts: tables at the end of the page by heading, such as `{"Model": {"parameters": 12345}}`.
        config_text: the resolved config of the run.
        notes: sentences that a reader of the scores must know.
    """

    title: str
    summary: Mapping[str, Any] | None = None
    cells: CellCodes | None = None
    history: Sequence[Mapping[str, Any]] = ()
    excerpts: Sequence[Excerpt] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    config_text: str = ""
    notes: Sequence[str] = ()

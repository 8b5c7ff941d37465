"""What an incident left to be looked at, and what is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Evidence:
    """What an incident left, as arrays.

    Args:
        event: of EVENTS.
        step: in which it showed, from 1.
        micro_batches: (mixtures, stems) of the steps after `before_step`, the last of them those of `step`; of that step alone where the others cannot be read again.
        before: state before the first of these steps; None where only the last can be run, from `at`.
        at: state in which the step left the training.
        losses: of the steps before and in the incident, `{"step", "<part>"...}`, oldest first.
        detector: its state at the step of `before`, as `SpikeDetector.state` gives it.
        threshold: of the detector of the training.
        same_program: whether backend and precision are those of the training, so that losses must agree bit for bit.
    """

    event: str
    step: int
    micro_batches: Sequence[tuple[np.ndarray, np.ndarray]]
    before: Mapping[str, np.ndarray] | None
    at: Mapping[str, np.ndarray]
    losses: Sequence[Mapping[str, float]]
    detector: Mapping[str, Any] | None = None
    threshold: float = 12.0
    same_program: bool = True


@dataclass
class Diagnosis:
    """The verdict, of VERDICTS, and what it rests on.

    Args:
        verdict: the word.
        reason: one sentence with its numbers.
        layer, part, operation, place: what is at fault, as far as it can be told.
        largest_input: largest finite magnitude among the inputs of the operation, or of the layer.
        examples: (micro-batch, example) of the batch without which the step is sound, where one is enough.
        tried: what was run and what came of it, in order.
    """

    verdict: str
    reason: str
    layer: str | None = None
    part: str | None = None
    operation: str | None = None
    place: str | None = None
    largest_input: float | None = None
    examples: Sequence[tuple[int, int]] = ()
    tried: list[str] = field(default_factory=list)


def with_finding(diagnosis: Diagnosis, found: Diagnosis | None) -> Diagnosis:
    """Adds what an examination found to a verdict that rests on something else; the place only where both speak of the same layer.

    Example:

    >>> with_finding(Diagnosis("learning_rate", "A tenth of it is sound"), Diagnosis("layer", "In m/a `log` gives infinity", "m/a", operation="log"))
    ... # doctest: +NORMALIZE_WHITESPACE
    Diagnosis(verdict='learning_rate', reason='A tenth of it is sound. In m/a `log` gives infinity', layer='m/a', part=None, operation='log', place=None,
        largest_input=None, examples=(), tried=[])
    """
    if found is None:
        return diagnosis
    diagnosis.reason = f"{diagnosis.reason}. {found.reason}"
    if diagnosis.layer in (None, found.layer):
        for key in ("layer", "part", "operation", "place", "largest_input"):
            setattr(diagnosis, key, getattr(found, key) if getattr(diagnosis, key) is None else getattr(diagnosis, key))
    return diagnosis

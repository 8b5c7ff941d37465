"""What an incident left to be looked at, and what is made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Files of an incident.
REPORT, FACTS, STEPS, PLAN, BATCH, BEFORE, AT, CONFIG = (
    *("REPORT.md", "incident.json", "steps.csv", "plan.json", "batch.npz", "state_before.npz", "state_at.npz", "config.yaml"),
)

# So many examples, or stems of them, are named where values are not finite.
MOST_PLACES = 4


@dataclass
class Incident:
    """What is known when trouble shows.

    Args:
        event: of EVENTS.
        action: of ACTIONS.
        step: optimizer step in which it showed, from 1.
        epoch: from 0.
        reason: one sentence with the numbers.
        micro_batches: `{"position", "draw"}` of each batch of that step.
        losses: `{"step", "<part>"...}` of the last steps.
        recorded: what `StepRecord.read` gives, with the key `layers`; may be empty.
        activations: `layers` and `scales`, what `ActivationScales.last_steps` gives, with the key `steps`; without it the last row is that of the last step. May be empty.
        before_step: step of the state in `before`.
        before: state from which the step can be computed again.
        at: state in which it left the training.
        plan: of each micro-batch, JSON values.
        batches: arrays by name, `mixtures_0`, `stems_0`, `mixtures_1`, ...
        trace: of the error of reading, or empty.
        facts: further JSON values: backend, versions, songs, budgets.
        next_rung: words and `--set` values of the next step of the safe ladder, or None.
    """

    event: str
    action: str
    step: int
    epoch: int
    reason: str
    micro_batches: Sequence[Mapping[str, int]] = ()
    losses: Sequence[Mapping[str, float]] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, Any] = field(default_factory=dict)
    before_step: int | None = None
    before: Mapping[str, np.ndarray] | None = None
    at: Mapping[str, np.ndarray] | None = None
    plan: Sequence[Any] = ()
    batches: Mapping[str, np.ndarray] = field(default_factory=dict)
    trace: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    next_rung: tuple[str, Sequence[str]] | None = None


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
        alone_because: why only the step itself can be run, a sentence; empty where `before` is given.
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
    alone_because: str = ""
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


def not_finite_words(kind: str, number: int, array: np.ndarray, stems: Sequence[str] = ()) -> str | None:
    """Returns which values of an array of a batch are not finite, None where all are.

    Args:
        kind: what the array holds, such as `stems`.
        number: of the micro-batch.
        array: `(examples, stems, samples, channels)` or `(examples, samples, channels)`, or anything by example.
        stems: their names.

    Example:

    >>> not_finite_words("stems", 0, np.array([[[[0.0]], [[np.nan]]]]), ("vocals", "drums"))
    '1 values of the stems of micro-batch 0 are not finite, in drums of example 0; the first is nan, sample 0 of channel 0, all counted from 0'
    """
    bad = ~np.isfinite(array)
    if not bad.any():
        return None
    first = np.unravel_index(np.argmax(bad), bad.shape)
    # Whole sounds are asked, for a batch may hold millions of such values.
    named = 2 if array.ndim == 4 else 1
    where = [
        f"{stems[item[1]] if item[1] < len(stems) else f'stem {item[1]}'} of example {item[0]}" if named == 2 else f"example {item[0]}"
        for item in np.argwhere(bad.any(axis=tuple(range(named, bad.ndim))))
    ]
    place = f"sample {first[-2]} of channel {first[-1]}" if array.ndim in (3, 4) else f"at ({', '.join(map(str, first))})"
    places = where[:MOST_PLACES] + ["others"] * (len(where) > MOST_PLACES)
    return f"{bad.sum()} values of the {kind} of micro-batch {number} are not finite, in {', '.join(places)}; the first is {array[first]}, {place}, all counted from 0"


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

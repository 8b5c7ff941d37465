"""The cause of an incident, found by running its step again in different ways."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kseparation.training.ablations import fails_from, parts_at_fault, smallest_batch, takes_weights_of
from kseparation.training.examination import Examination, examine_step
from kseparation.training.faults import Injection
from kseparation.training.rerun import Rerun, rerun
from kseparation.training.spikes import LEAST_RATIO, SpikeDetector
from kseparation.training.state import write_state
from kseparation.training.step_record import layer_of
from kseparation.training.weight_averaging import averaged_weights

# Learning rates that are tried where a loss leaps, times the one of the training.
SLOWER_RATES = (0.1, 0.01, 0.001)
# A part of the loss below so many times its usual value does not leap.
AS_USUAL = 1.5
# A weight that differs by so much of the largest one of its layer was written to by something else.
ALIEN = 1e-3


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
        examples: (micro-batch, example) of the batch without which the step is sound, where one is enough.
        tried: what was run and what came of it, in order.
    """

    verdict: str
    reason: str
    layer: str | None = None
    part: str | None = None
    operation: str | None = None
    place: str | None = None
    examples: Sequence[tuple[int, int]] = ()
    tried: list[str] = field(default_factory=list)


class Diagnosing:
    """Runs the step of an incident until its cause is clear.

    Args:
        model: built and compiled as in the training.
        evidence: of the incident.
        injection: faults of the program that was trained.
        say: gets a line for each thing that is tried.
        in_float32: builds the same model in float32, where the training was in another precision.
    """

    def __init__(
        self,
        model: keras.Model,
        evidence: Evidence,
        injection: Injection | None = None,
        say: Callable[[str], Any] = lambda words: None,
        in_float32: Callable[[], keras.Model] | None = None,
    ):
        self.model = model
        self.in_float32 = in_float32
        self.evidence = evidence
        self.injection = injection
        self.tried = []
        self._say = say
        accumulate = model.optimizer.accumulate_steps
        self.last = list(evidence.micro_batches)[-accumulate:]
        steps = len(evidence.micro_batches) // accumulate
        self.first_step = evidence.step - steps + 1

    def diagnose(self) -> Diagnosis:
        """Returns the cause."""
        found = self._data() or (self._validation() if self.evidence.event == "validation" else self._step())
        found.tried = self.tried
        return found

    def _note(self, words):
        self.tried.append(words)
        self._say(words)

    def _data(self):
        for number, batch in enumerate(self.last):
            for kind, audio in zip(("mixtures", "stems"), batch, strict=True):
                bad = np.argwhere(~np.isfinite(audio))
                if len(bad):
                    self._note(f"looked at the batch: {len(bad)} values of the {kind} are not finite")
                    example = int(bad[0][0])
                    place = ", ".join(map(str, bad[0]))
                    reason = f"{len(bad)} values of the {kind} of micro-batch {number} are not finite, the first at ({place})"
                    return Diagnosis("data", reason, examples=[(number, example)])
        self._note("looked at the batch: every value is finite")
        return None

    def _validation(self):
        write_state(self.model, self.evidence.at)
        with averaged_weights(self.model):
            examination = self._examine(self.last[0], training=False)
        return self._from_examination(examination, 0) or Diagnosis("not_reproduced", "The batch of the validation gives a finite loss now")

    def _examine(self, batch, training=True) -> Examination:
        compiled, self.model.run_eagerly = self.model.run_eagerly, True  # for layers that ask
        try:
            return examine_step(self.model, *batch, training=training)
        finally:
            self.model.run_eagerly = compiled

    def _run(self, state, first_step, batches, **options) -> Rerun:
        return rerun(self.model, state, first_step, batches, self.injection, **options)

    def _leap(self, result) -> str | None:
        """Whether the losses of these steps leap, judged as in the training."""
        detector = SpikeDetector(self.evidence.threshold or SpikeDetector().threshold)
        detector.restore(self.evidence.detector)
        made = zip(result.parts, result.rejected, strict=True)
        found = [detector.see(parts["total"]) for parts, rejected in made if not rejected]
        return next((leap for leap in found if leap), None)

    def _fails(self, result: Rerun) -> bool:
        return result.rejected[-1] if self.evidence.event == "non_finite" else self._leap(result) is not None

    def _step(self):
        evidence = self.evidence
        if evidence.before is None:
            again = self._run(evidence.at, evidence.step, self.last)
            self._note(f"ran step {evidence.step} from the state at its end: {self._words(again)}")
            return self._deterministic(again) if self._fails(again) else Diagnosis("not_reproduced", f"Step {evidence.step} is sound when it is run again")
        first = self._run(evidence.before, self.first_step, evidence.micro_batches)
        self._note(f"ran steps {self.first_step} to {evidence.step} from the state before them: {self._words(first)}{self._agreement(first)}")
        second, third = (self._run(first.before_last, evidence.step, self.last) for _ in range(2))
        self._note(f"ran step {evidence.step} by itself, twice: {self._words(second)}; {self._words(third)}")
        runs = (first, second, third)
        exact = len({(result.rejected[-1], *(value.hex() for value in result.parts[-1].values())) for result in runs}) == 1
        if len({self._bad_step(result) for result in runs}) > 1:
            return Diagnosis("nondeterministic", f"Step {evidence.step} from the same state fails in {sum(map(self._bad_step, runs))} of three runs")
        if not exact:
            self._note("the three runs differ in their last bits")
        return self._deterministic(first) if self._fails(first) else self._not_again(first, exact)

    def _bad_step(self, result):
        """Whether the last step by itself is out of order."""
        return result.rejected[-1] or not np.isfinite(result.parts[-1]["total"])

    def _words(self, result):
        return f"{'rejected' if result.rejected[-1] else 'made'}, loss {result.parts[-1]['total']:.6g}"

    def _agreement(self, result):
        recorded = {row["step"]: row for row in self.evidence.losses}
        pairs = [(self.first_step + index, parts["total"], recorded[self.first_step + index]["total"]) for index, parts in enumerate(result.parts) if self.first_step + index in recorded]
        apart = [step for step, now, then in pairs if not (now == then or np.isnan(now) and np.isnan(then))]
        if not apart:
            return f"; all {len(pairs)} losses are those of the training, bit for bit"
        self.departs = apart[0]
        return f"; from step {apart[0]} on the losses are not those of the training"

    departs = None

    def _not_again(self, first, exact):
        """The step is sound from the state before: then the state in which it failed was another, or it does not fail again."""
        evidence = self.evidence
        theirs, ours = evidence.at, first.after
        if evidence.event == "non_finite":
            # A rejected step leaves weights and slots as they were before it.
            ours = first.before_last
            again = self._run(theirs, evidence.step, self.last)
            self._note(f"ran step {evidence.step} from the state in which it left the training: {self._words(again)}")
        if not evidence.same_program:
            return Diagnosis("not_reproduced", f"Step {evidence.step} is sound on this backend and in this precision: what breaks it is in those of the training, or was in its state")
        alien = self._alien(ours, theirs, exact)
        if alien is not None and (evidence.event != "non_finite" or again.rejected[-1]):
            return alien
        if self.departs is not None and exact:
            return Diagnosis("nondeterministic", f"From step {self.departs} on the same program computes other losses than the training did")
        return Diagnosis("not_reproduced", f"Step {evidence.step} is sound when it is run again")

    def _alien(self, ours, theirs, exact):
        """Names the variable that something else wrote to, None where the states agree as far as the machine computes the same twice."""
        least = ALIEN if exact else 1 / ALIEN
        worst, name, values, expected = 0.0, None, None, None
        # In their order, for Keras numbers the models of a process in their names.
        for (mine, value), (_, other) in zip(sorted(ours.items()), sorted(theirs.items()), strict=True):
            if not np.issubdtype(value.dtype, np.floating) or value.size == 0 or _is_a_record(mine):
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                apart = np.abs(value.astype("float64") - other.astype("float64")).max() / max(float(np.nanmax(np.abs(value))), 1e-30)
            apart = apart if np.isfinite(apart) else np.inf
            if apart > max(worst, least):
                worst, name, values, expected = apart, mine, other, value
        if name is None:
            return None
        _, kind, path = name.split("/", 2)
        differ = int(np.sum(~(values == expected)))
        largest = float(np.max(np.abs(np.where(np.isfinite(values), values, 0))))
        reason = (
            f"`{path}` is not what the training had computed: {differ} of {values.size} values differ, the largest is {largest:.4g} "
            f"instead of {float(np.max(np.abs(expected))):.4g}" + ("" if np.isfinite(values).all() else ", and some are not finite")
        )
        return Diagnosis("optimizer" if kind == "optimizer" else "weights", reason, layer=self._owner(kind, path))

    def _owner(self, kind, path):
        if kind == "model":
            return layer_of(path)
        # Keras names the state of an optimizer after the weight that it belongs to.
        owners = [variable.path for variable in self.model.trainable_variables if variable.path.replace("/", "_") in path]
        return layer_of(max(owners, key=len)) if owners else None

    def _deterministic(self, failed):
        return self._of_rejected(failed) if self.evidence.event == "non_finite" else self._of_leap(failed)

    def _of_rejected(self, failed):
        state = failed.before_last
        if slow := self._slower_before(failed):
            return slow
        write_state(self.model, state)
        for number, batch in enumerate(self.last):
            found = self._from_examination(self._examine(batch), number)
            if found is not None:
                if found.verdict != "weights":
                    self._take_away(found, number, batch, state)
                return found
        self._note("computed the step operation by operation: everything is finite, forward and backward")
        eager = self._run(state, self.evidence.step, self.last, eagerly=True)
        self._note(f"ran step {self.evidence.step} operation by operation: {self._words(eager)}")
        if not eager.rejected[-1]:
            return Diagnosis("compiled", "The compiled step is rejected, the same operations one by one are sound")
        return self._optimizer(state)

    def _take_away(self, found, number, batch, state):
        """Finds how little of the step is enough, and adds that to what was found."""
        examples = smallest_batch(batch, lambda part: self._examine(part).finding is not None)
        self._note(f"halved the batch as long as it failed: example{'s' * (len(examples) > 1)} {', '.join(map(str, examples))}")
        found.examples = [(number, example) for example in examples]
        without = parts_at_fault(self.model, lambda: self._examine(batch).finding is not None)
        if without:
            self._note(f"left out each part of the loss: without {' or '.join(without)} the step is sound")
        if self.evidence.before is not None and self.first_step < self.evidence.step:
            again = fails_from(self.model, self.evidence.before, lambda: self._examine(batch).finding is not None)
            self._note(f"gave the batch to the state of step {self.first_step - 1}: {'it fails too' if again else 'it is sound there'}")
        if self.in_float32 is not None:
            model = self.in_float32()
            takes_weights_of(model, state)
            sound = examine_step(model, *batch).finding is None
            self._note(f"computed the step in float32: {'everything is finite' if sound else 'it fails too'}")
            found.reason += "; in float32 it is sound" if sound else ""

    def _slower_before(self, failed):
        """Whether a tenth of the learning rate in the steps before would have avoided it."""
        evidence = self.evidence
        if evidence.before is None or len(failed.parts) < 2:
            return None
        return self._slower(evidence.before, self.first_step, evidence.micro_batches, SLOWER_RATES[:1])

    def _optimizer(self, state):
        bad = [name for name, value in state.items() if name.split("/", 2)[1] == "optimizer" and np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all()]
        bad = [name for name in bad if not _is_a_record(name)]
        if bad:
            path = bad[0].split("/", 2)[2]
            return Diagnosis("optimizer", f"`{path}` of the optimizer is not finite, and loss and gradients are", layer=self._owner("optimizer", path))
        slow = self._slower(state, self.evidence.step, self.last)
        return slow or Diagnosis("unexplained", "Loss and gradients are finite, and the new weights are not at any learning rate that was tried")

    def _slower(self, state, first_step, batches, factors=SLOWER_RATES):
        rate = self.model.optimizer.recoverable_rate
        if rate is None:
            return None
        for factor in factors:
            slow = rerun(self.model, _scaled(state, factor), first_step, batches, self.injection)
            self._note(f"ran the same steps at {factor:g} times the learning rate: {self._words(slow)}")
            if not self._fails(slow):
                return Diagnosis("learning_rate", f"At {factor:g} times the learning rate the same steps are sound")
        return None

    def _of_leap(self, failed):
        if loud := self._loud_batch():
            return loud
        parts, usual = failed.parts[-1], self._usual_parts()
        ratios = {name: value / usual[name] if usual[name] else np.inf for name, value in parts.items() if name != "total"}
        leaping = [name for name, ratio in ratios.items() if not ratio < LEAST_RATIO]
        told = ", ".join(f"{name} {ratio:.3g}" for name, ratio in ratios.items())
        self._note(f"compared the parts of the loss with their usual values: times {told}")
        worst = max(leaping, key=lambda name: np.nan_to_num(ratios[name], nan=np.inf), default=None)
        if leaping and len(leaping) < len(ratios):
            others = [name for name in ratios if name not in leaping]
            if max(ratios[name] for name in others) < AS_USUAL:
                return Diagnosis("loss", f"`{worst}` is {ratios[worst]:.3g} times its usual value, and {', '.join(others)} are as usual", part=worst)
        before = self.evidence.before
        if worst and before is not None:
            grown = self._scale(failed.before_last, self.last[0]) / max(self._scale(before, self.evidence.micro_batches[0]), 1e-30)
            self._note(f"compared what the model gives with what it gave {self.evidence.step - self.first_step} steps before: {grown:.3g} times as large")
            if grown < LEAST_RATIO:
                return Diagnosis("loss", f"`{worst}` is {ratios[worst]:.3g} times its usual value, and what the model gives is as large as usual", part=worst)
        if before is not None and (slow := self._slower(before, self.first_step, self.evidence.micro_batches)):
            return slow
        return Diagnosis("unexplained", f"All parts of the loss leap together (times {told}), at every learning rate that was tried")

    def _usual_parts(self):
        rows = [row for row in self.evidence.losses if row["step"] < self.first_step] or list(self.evidence.losses)[:-1]
        names = self.evidence.losses[-1]
        return {name: float(np.median([row[name] for row in rows if np.isfinite(row[name])] or [np.nan])) for name in names}

    def _loud_batch(self):
        """The example that is far louder than those of the steps before, which no loss is made for."""
        accumulate = len(self.last)
        usual = [float(np.sqrt(np.mean(np.square(batch[1], dtype="float64")))) for batch in self.evidence.micro_batches[: len(self.evidence.micro_batches) - accumulate]]
        if not usual:
            return None
        usual = max(usual)
        for number, (_, stems) in enumerate(self.last):
            levels = np.sqrt(np.mean(np.square(stems, dtype="float64"), axis=tuple(range(1, stems.ndim))))
            example = int(np.argmax(levels))
            if levels[example] > LEAST_RATIO * len(levels) ** 0.5 * usual:
                self._note(f"compared the batch with those before: example {example} has {levels[example] / usual:.3g} times the level of the loudest")
                reason = f"Example {example} of micro-batch {number} has {levels[example] / usual:.3g} times the level of the loudest batch of the steps before"
                return Diagnosis("data", reason, examples=[(number, example)])
        self._note("compared the batch with those before: it is not louder")
        return None

    def _scale(self, state, batch):
        write_state(self.model, state)
        output = keras.ops.convert_to_numpy(keras.ops.cast(self.model(batch[0], training=False), "float32"))
        return float(np.abs(output).max())

    def _from_examination(self, examination: Examination, number):
        if examination.bad_weights:
            paths = ", ".join(f"`{path}`" for path in examination.bad_weights[:3])
            return Diagnosis("weights", f"{paths} of the model are not finite", layer=layer_of(examination.bad_weights[0]))
        finding = examination.finding
        if finding is None:
            return None
        where = finding.layer or finding.part or "the loss"
        what = f"`{finding.operation}`" if finding.operation else "what it computes"
        at = f" ({finding.place})" if finding.place else ""
        numbers = f"inputs from {finding.smallest_input:.4g} to {finding.largest_input:.4g} in magnitude"
        self._note(f"examined micro-batch {number} operation by operation: the first value that is not finite comes {finding.direction} in {where}, by {what}{at}")
        verdict = {"forward": "layer", "loss": "loss", "backward": "gradient"}[finding.direction]
        if finding.direction == "backward" and finding.layer is None:
            verdict = "loss"
        direction = "the gradient of " if finding.direction == "backward" else ""
        return Diagnosis(verdict, f"In {direction}{where} {what} gives the first value that is not finite{at}; {numbers}", finding.layer, finding.part, finding.operation, finding.place)


def _is_a_record(name):
    """Whether a variable of the optimizer tells of the last steps, or follows from them by itself, and says nothing of the state."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(("recorded_", "gradient_norm", "norm_history", "loss_scale"))


def _scaled(state, factor):
    """The state with another factor of the learning rate, whose rise is over."""
    return {name: value * np.float32(factor) if name.rsplit("/", 1)[-1] == "rate_factor" else value for name, value in state.items()}

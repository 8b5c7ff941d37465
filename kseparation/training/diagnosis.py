"""The cause of an incident, found by running its step again in different ways."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kseparation.training.ablations import fails_from, parts_at_fault, smallest_batch, takes_weights_of
from kseparation.training.alien_state import alien_variable, is_a_record
from kseparation.training.evidence import Diagnosis, Evidence, not_finite_words, with_finding
from kseparation.training.examination import Examination, Finding, examine_step, plain_losses
from kseparation.training.faults import Injection
from kseparation.training.float_tensors import norm
from kseparation.training.guarded_optimizer import LARGEST_NORM
from kseparation.training.rerun import Rerun, rerun
from kseparation.training.spikes import LEAST_RATIO, SpikeDetector, weights_change
from kseparation.training.state import write_state
from kseparation.training.step_record import layer_of
from kseparation.training.weight_averaging import averaged_weights

# Learning rates that are tried where a loss leaps, times the one of the training.
SLOWER_RATES = (0.1, 0.01, 0.001)
# A part of the loss below so many times its usual value does not leap.
AS_USUAL = 1.5


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
        # By their numbers, for the others are large, and read when they are due.
        count = len(evidence.micro_batches)
        self.last = [evidence.micro_batches[number] for number in range(max(count - accumulate, 0), count)]
        self.first_step = evidence.step - count // accumulate + 1

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
            # The stems first: they say which one it is, while a mixture has what any of them has.
            for kind, audio in reversed([*zip(("mixtures", "stems"), batch, strict=True)]):
                if reason := not_finite_words(kind, number, audio, getattr(self.model, "stems", ())):
                    self._note(f"looked at the batch: {reason}")
                    return Diagnosis("data", reason, examples=[(number, int(np.argwhere(~np.isfinite(audio))[0][0]))])
        self._note("looked at the batch: every value is finite")
        return None

    def _validation(self):
        write_state(self.model, self.evidence.at)
        with averaged_weights(self.model):
            examination = self._examine(self.last[0], training=False)
        return self._from_examination(examination, 0) or Diagnosis("not_reproduced", "The batch of the validation gives a finite loss now")

    def _examine(self, batch, training=True) -> Examination:
        with self._eagerly():
            return examine_step(self.model, *batch, training=training)

    @contextlib.contextmanager
    def _eagerly(self):
        """Opens a context in which layers that ask are told that nothing is compiled."""
        compiled, self.model.run_eagerly = self.model.run_eagerly, True
        try:
            yield
        finally:
            self.model.run_eagerly = compiled

    def _run(self, state, first_step, batches, **options) -> Rerun:
        return rerun(self.model, state, first_step, batches, self.injection, **options)

    def _leap(self, result) -> str | None:
        """Whether the losses of these steps leap, judged as in the training."""
        detector = SpikeDetector(self.evidence.threshold or SpikeDetector().threshold)
        detector.restore(self.evidence.detector)
        found = []
        for step, (parts, rejected) in enumerate(zip(result.parts, result.rejected, strict=True), self.evidence.step - len(result.parts) + 1):
            if weights_change(self.model.loss, step):
                detector.forget()
            found += [] if rejected else [detector.see(parts["total"])]
        return next((leap for leap in found if leap), None)

    def _fails(self, result: Rerun) -> bool:
        return result.rejected[-1] if self.evidence.event == "non_finite" else self._leap(result) is not None

    def _step(self):
        evidence = self.evidence
        if evidence.before is None:
            again = self._run(evidence.at, evidence.step, self.last)
            self._note(f"ran step {evidence.step} from the state at its end: {self._words(again)}")
            if self._fails(again):
                return self._deterministic(again)
            words = f"Step {evidence.step} is sound when it is run from the state at its end, which is not the state that it began with"
            return Diagnosis("not_reproduced", ". ".join(filter(None, (words, evidence.alone_because.rstrip(".")))))
        first = self._run(evidence.before, self.first_step, evidence.micro_batches)
        self._note(f"ran steps {self.first_step} to {evidence.step} from the state before them: {self._words(first)}{self._agreement(first)}")
        second, third = (self._run(first.before_last, evidence.step, self.last) for _ in range(2))
        self._note(f"ran step {evidence.step} by itself, twice: {self._words(second)}; {self._words(third)}")
        runs = (first, second, third)
        exact = len({(result.rejected[-1], *(value.hex() for value in result.parts[-1].values())) for result in runs}) == 1
        if len({self._bad_step(result) for result in runs}) > 1:
            words = f"Step {evidence.step} from the same state fails in {sum(map(self._bad_step, runs))} of three runs"
            return with_finding(Diagnosis("nondeterministic", words), self._first_not_finite(first.before_last)[0])
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
        if not pairs:
            return "; none of them has a loss that the training recorded: nothing can be compared"
        if not apart:
            count = f"all {len(pairs)} losses" if len(pairs) == len(result.parts) else f"the {len(pairs)} of {len(result.parts)} losses that the training recorded"
            return f"; {count} are those of the training, bit for bit"
        self.departs = apart[0]
        return f"; from step {apart[0]} on the losses are not those of the training"

    departs = None

    def _not_again(self, first, exact):
        """The step is sound from the state before: then the state in which it failed was another, or it does not fail again."""
        evidence = self.evidence
        theirs, ours, again = evidence.at, first.after, None
        if evidence.event == "non_finite":
            # A rejected step leaves weights and slots as they were before it.
            ours = first.before_last
            again = self._run(theirs, evidence.step, self.last)
            self._note(f"ran step {evidence.step} from the state in which it left the training: {self._words(again)}")
        fails = again is not None and again.rejected[-1]
        alien = self._alien(ours, theirs, exact) if evidence.same_program and (again is None or fails) else None
        if fails:
            # Without an alien variable the state is that of another course, which nothing but small differences led to.
            return with_finding(alien, self._first_not_finite(theirs)[0]) if alien is not None else self._of_rejected(again)
        if not evidence.same_program:
            return Diagnosis("not_reproduced", f"Step {evidence.step} is sound on this backend and in this precision: what breaks it is in those of the training, or was in its state")
        if alien is not None:
            return alien
        if self.departs is not None and exact:
            return Diagnosis("nondeterministic", f"From step {self.departs} on the same program computes other losses than the training did")
        return Diagnosis("not_reproduced", f"Step {evidence.step} is sound when it is run again")

    def _alien(self, ours, theirs, exact):
        alien = alien_variable(ours, theirs, exact)
        if alien is None:
            return None
        return Diagnosis("optimizer" if alien.kind == "optimizer" else "weights", alien.words, layer=self._owner(alien.kind, alien.path))

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
        found, number = self._first_not_finite(state)
        if (absurd := self._absurd_weight()) is not None:
            return with_finding(absurd, found)
        if found is not None and found.verdict == "weights":
            return found
        # A rate that led to such a state is the cause, and the place where it shows is what the finding tells.
        slow = self._slower_before(failed)
        if slow is not None:
            return with_finding(slow, found)
        if found is None:
            return self._beyond_the_operations(state)
        if number is not None:
            write_state(self.model, state)
            self._take_away(found, number, self.last[number], state)
        return found

    def _first_not_finite(self, state):
        """Examines the micro-batches of the last step from a state, which is left in the model: what was found, and in which; without a number where it is their gradient together."""
        write_state(self.model, state)
        norms = []
        for number, batch in enumerate(self.last):
            examination = self._examine(batch)
            if (found := self._from_examination(examination, number)) is not None:
                return found, number
            norms.append(examination.gradient_norms)
        self._note("computed the step operation by operation: everything is finite, forward and backward")
        return self._absurd_gradient(norms), None

    def _absurd_weight(self):
        """The weight for whose size alone the optimizer rejects every step."""
        sizes = {variable.path: norm(variable) for variable in self.model.trainable_variables}
        sizes = {path: size for path, size in sizes.items() if LARGEST_NORM <= size < np.inf}
        if not sizes:
            return None
        path = max(sizes, key=sizes.get)
        self._note(f"measured the weights: `{path}` has a norm of {sizes[path]:.4g}")
        return Diagnosis("weights", f"`{path}` is finite and has a norm of {sizes[path]:.4g}: beyond {LARGEST_NORM:g} every step is rejected", layer=layer_of(path))

    def _absurd_gradient(self, norms):
        """The gradient that is finite and too large for the optimizer, from its norms by variable in each micro-batch."""
        total = float(np.mean([np.linalg.norm(list(of_batch.values())) for of_batch in norms])) if norms else 0.0
        if not LARGEST_NORM <= total < np.inf:
            return None
        layers = {}
        for path, size in ((path, size) for of_batch in norms for path, size in of_batch.items()):
            layers[layer_of(path)] = float(np.hypot(layers.get(layer_of(path), 0.0), size / len(norms)))
        layer = max(layers, key=layers.get)
        self._note(f"measured the gradient: it has a norm of {total:.4g}, and that of {layer} {layers[layer]:.4g}")
        words = f"The gradient is finite and has a norm of {total:.4g}: beyond {LARGEST_NORM:g} a step is rejected; the largest is that of {layer}, {layers[layer]:.4g}"
        return Diagnosis("gradient", words, layer)

    def _beyond_the_operations(self, state):
        """The step is rejected, though every operation of it is sound."""
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
        bad = [name for name in bad if not is_a_record(name)]
        if bad:
            path = bad[0].split("/", 2)[2]
            return Diagnosis("optimizer", f"`{path}` of the optimizer is not finite, and loss and gradients are", layer=self._owner("optimizer", path))
        slow = self._slower(state, self.evidence.step, self.last)
        return slow or Diagnosis("unexplained", f"Loss and gradients are finite, and the new weights are not, or are larger than {LARGEST_NORM:g}, at any learning rate that was tried")

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
        others = [name for name in ratios if name not in leaping]
        before = self.evidence.before
        if leaping and others and max(ratios[name] for name in others) < AS_USUAL:
            return self._of_part(worst, ratios[worst], f"{', '.join(others)} are as usual", failed.before_last, usual[worst])
        if worst and before is not None:
            grown = self._scale(failed.before_last, self.last[0]) / max(self._scale(before, self.evidence.micro_batches[0]), 1e-30)
            self._note(f"compared what the model gives with what it gave {self.evidence.step - self.first_step} steps before: {grown:.3g} times as large")
            if grown < LEAST_RATIO:
                return self._of_part(worst, ratios[worst], "what the model gives is as large as usual", failed.before_last, usual[worst])
        if before is not None and (slow := self._slower(before, self.first_step, self.evidence.micro_batches)):
            return slow
        return Diagnosis("unexplained", f"All parts of the loss leap together (times {told}), at every learning rate that was tried")

    def _of_part(self, part, ratio, what_is_usual, state, usual):
        """Blames a part of the loss, with the examples that are enough to make it leap."""
        write_state(self.model, state)
        found = Diagnosis("loss", f"`{part}` is {ratio:.3g} times its usual value, and {what_is_usual}", part=part)

        def leaps(batch):
            with self._eagerly():
                return not plain_losses(self.model, *batch, training=True)[part] < LEAST_RATIO * usual

        for number, batch in enumerate(self.last):
            if leaps(batch):
                examples = smallest_batch(batch, leaps)
                self._note(f"halved the batch as long as `{part}` leapt: example{'s' * (len(examples) > 1)} {', '.join(map(str, examples))}")
                found.examples = [(number, example) for example in examples]
                break
        return found

    def _usual_parts(self):
        changed = max((row["step"] for row in self.evidence.losses if weights_change(self.model.loss, row["step"])), default=0)
        comparable = [row for row in self.evidence.losses if row["step"] >= changed]  # before that it was another loss
        rows = [row for row in comparable if row["step"] < self.first_step] or comparable[:-1]
        names = self.evidence.losses[-1]
        return {name: float(np.median([row[name] for row in rows if np.isfinite(row[name])] or [np.nan])) for name in names}

    def _loud_batch(self):
        """The example that is far louder than those of the steps before, which no loss is made for."""
        accumulate = len(self.last)
        batches = self.evidence.micro_batches
        usual = [float(np.sqrt(np.mean(np.square(batches[number][1], dtype="float64")))) for number in range(len(batches) - accumulate)]
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
        found = None if examination.finding is None else self._of_finding(examination.finding, number)
        if not examination.bad_weights:
            return found
        paths = ", ".join(f"`{path}`" for path in examination.bad_weights[:3])
        return with_finding(Diagnosis("weights", f"{paths} of the model are not finite", layer=layer_of(examination.bad_weights[0])), found)

    def _of_finding(self, finding: Finding, number):
        where = finding.layer or finding.part or "the loss"
        what = f"`{finding.operation}`" if finding.operation else "what it computes"
        at = f" ({finding.place})" if finding.place else ""
        numbers = f"inputs from {finding.smallest_input:.4g} to {finding.largest_input:.4g} in magnitude"
        self._note(f"examined micro-batch {number} operation by operation: the first value that is not finite comes {finding.direction} in {where}, by {what}{at}")
        verdict = {"forward": "layer", "loss": "loss", "backward": "gradient"}[finding.direction]
        if finding.direction == "backward" and finding.layer is None:
            verdict = "loss"
        direction = "the gradient of " if finding.direction == "backward" else ""
        words = f"In {direction}{where} {what} gives the first value that is not finite{at}; {numbers}"
        return Diagnosis(verdict, words, finding.layer, finding.part, finding.operation, finding.place, finding.largest_input)


def _scaled(state, factor):
    """The state with another factor of the learning rate, whose rise is over."""
    return {name: value * np.float32(factor) if name.rsplit("/", 1)[-1] == "rate_factor" else value for name, value in state.items()}

"""The callback that notices trouble, keeps the evidence, and leaves `fit` where something must be done."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from kseparation.training.recovery import RecoveryPolicy
from kseparation.training.run_callbacks import VALIDATION, LogSteps
from kseparation.training.safety_callbacks import STEP_LOSS, TerminateOnNonFinite
from kseparation.training.snapshots import Snapshots
from kseparation.training.spikes import SpikeDetector, weights_change
from kseparation.training.state import read_state
from kseparation.training.verdicts import EVENTS


class Turn(Exception):
    """Leaves `fit`, so that the training can return to an older state.

    Args:
        step: in which trouble showed.
        action: `roll_back` or `roll_back_slower`.
    """

    def __init__(self, step: int, action: str):
        super().__init__(f"{action} from step {step}")
        self.step = step
        self.action = action


class Stop(Exception):
    """Leaves `fit` for good.

    Args:
        message: for whoever reads the end.
        step: in which trouble showed.
        sound: whether the state is that of a sound training, so that it can be saved as it is.
        advice: the last sentence for whoever reads the end, empty where there is none.
    """

    def __init__(self, message: str, step: int, sound: bool, advice: str = ""):
        super().__init__(message)
        self.step = step
        self.sound = sound
        self.advice = advice


class WatchSteps(keras.callbacks.Callback):
    """Looks at each step: whether it was rejected, whether its loss leaps, whether its batch could be read, and at each validation.

    Comes after `LogSteps` and the guard. Nothing is mended here, for a callback cannot change what `fit` holds: it writes the incident, and raises `Turn` or `Stop`.

    Args:
        steps: counts and logs.
        guard: says when too many steps in a row were rejected.
        detector: of leaps.
        snapshots: of good states.
        policy: decides.
        record: writes the incident: function of (event, action, step, epoch, reason, trace, facts); returns its folder or None.
        failures: returns what could not be read of the steps done since the last call.
    """

    def __init__(
        self,
        steps: LogSteps,
        guard: TerminateOnNonFinite,
        detector: SpikeDetector,
        snapshots: Snapshots,
        policy: RecoveryPolicy,
        record: Callable,
        failures: Callable[[], Sequence],
    ):
        super().__init__()
        self.steps = steps
        self.guard = guard
        self.detector = detector
        self.snapshots = snapshots
        self.policy = policy
        self.record = record
        self.failures = failures
        self._epoch = 0

    def on_train_begin(self, logs=None):
        if not len(self.snapshots):
            self._keep()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not self.steps.between_steps:
            return
        step, parts = self.steps.step, self.steps.recent[-1]
        if weights_change(self.model.loss, step):
            self.detector.forget()  # of another loss
        for failure in self.failures():
            self._meet("unreadable", self.policy.unreadable(step), self._words(failure), failure.trace, position=failure.position, draw=failure.draw)
        if self.steps.rejected:
            self._rejected(step, parts)
            return
        self.policy.rejected_before = False
        if leap := self.detector.see(parts[STEP_LOSS]):
            score, ratio = self.detector.compare(parts[STEP_LOSS])
            loss = parts[STEP_LOSS]
            reason = f"The loss is {loss:.4g}, {ratio:.3g} times the usual, and {score:.1f} times their scatter above the largest of those before it"
            if leap == "divergence":
                reason = f"The losses of the last steps lie far above those before them; the last is {loss:.4g}, {ratio:.3g} times the usual"
            self._meet(leap, self.policy.trouble(step), reason)
        if self.snapshots.is_due(step):
            self._keep()

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get(VALIDATION + STEP_LOSS)
        if loss is not None and (action := self.policy.validation(bool(np.isfinite(float(loss))))) != "none":
            self._meet("validation", action, f"The validation loss after epoch {epoch + 1} is {float(loss)}")

    def _keep(self):
        self.snapshots.add(self.steps.step, read_state(self.model), {"detector": self.detector.state()})

    @staticmethod
    def _words(failure):
        return f"Batch {failure.position} of the run could not be read ({type(failure.error).__name__}): {failure.error}".rstrip(".")

    def _rejected(self, step, parts):
        optimizer = self.model.optimizer
        if optimizer.loss_scaling and float(optimizer.loss_scale) > 1.0 and np.isfinite(parts[STEP_LOSS]):
            return  # a scale that is being looked for
        in_a_row = max(self.guard.rejected, 1)
        action = self.policy.trouble(step) if self.guard.reason else self.policy.rejected(step, in_a_row)
        bad = [name for name, value in parts.items() if name != "step" and not np.isfinite(value)]
        what = f"Of the loss these parts are not finite: {', '.join(bad)}" if bad else "The loss is finite, a gradient or a new weight is not"
        reason = f"{what}; {in_a_row} in a row"
        # Of steps that are left out in a row the first is the evidence.
        quietly, self.policy.rejected_before = action == "skip" and self.policy.rejected_before, True
        self._meet("non_finite", action, reason, quietly=quietly)

    def _meet(self, event, action, reason, trace="", quietly=False, **facts):
        """Keeps the evidence and does what was decided."""
        step = self.steps.step
        folder = None if quietly else self.record(event, action, step, self._epoch, reason, trace, facts)
        optimizer = self.model.optimizer
        counts = {"skipped_steps": int(optimizer.skipped_steps), "skipped_in_a_row": int(optimizer.skipped_in_a_row)}
        named = {} if event == "validation" else self.steps.named(self.steps.recent[-1])
        self.steps.log.event("fault", step, self._epoch, event=event, action=action, incident=folder and str(folder), **counts, **named, **facts)
        if not quietly:
            where = f"; the evidence: {folder}" if folder else ""
            self.steps.say(f"step {step}: {EVENTS[event]}. {reason} -> {action.replace('_', ' ')}{where}", last=action == "stop" or action.startswith("roll_back"))
        if action == "stop":
            # A rejected step changed nothing; many of them, or a leap, tell of weights that cannot be trusted.
            # In the last step of an epoch its validation is still to come, which a state saved now would never make up for.
            sound = event == "validation" or not self.steps.ends_epoch and (event == "unreadable" or event == "non_finite" and self.policy.strict)
            raise Stop(self._end(reason), step, sound, f" Find the cause: kseparation replay --incident={folder}" if folder else "")
        if action.startswith("roll_back"):
            raise Turn(step, action)

    def _end(self, reason):
        returns = len(self.policy.returns)
        before = f" It had returned to an older state {returns} times." if returns else ""
        return f"Training stopped: {reason[0].lower()}{reason[1:]}.{before}"

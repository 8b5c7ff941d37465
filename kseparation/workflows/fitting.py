"""The training proper: calls of `fit`, and what happens between them."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kseparation.data import Detours, SegmentStream
from kseparation.data.segment_stream import UnreadableBatch
from kseparation.errors import KSeparationError, TrainingStopped, UserError
from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint
from kseparation.training import TerminateOnNonFinite
from kseparation.training.faults import Injection
from kseparation.training.feeding import fit_input
from kseparation.training.interruption import Interruption
from kseparation.training.recovery import WINDOW_STEPS, RecoveryPolicy
from kseparation.training.run_callbacks import KeepBest, LogSteps, SaveCheckpoint
from kseparation.training.run_log import RunLog
from kseparation.training.snapshots import PROVING_STEPS, Snapshot, Snapshots
from kseparation.training.spikes import SpikeDetector
from kseparation.training.state import read_state, write_state
from kseparation.training.tensorboard import tensorboard_scalars
from kseparation.training.validation_set import ValidationSet
from kseparation.training.watch_steps import Stop, Turn, WatchSteps
from kseparation.training.weight_averaging import ValidateAveragedWeights
from kseparation.workflows.incident_record import IncidentRecord
from kseparation.workflows.tasks import Task

# Batches that TensorFlow may have taken before they are trained on.
READ_AHEAD = 4


class Fitting:
    """One process's part of a training: from the state it begins with to the end, a stop or an interruption.

    Args:
        task: what is trained, with its data.
        model: built, compiled, with the state that the training goes on from.
        folder: of the run.
        store: its checkpoints.
        progress: of the checkpoint that the state is from; empty at the beginning.
        facts: kept with each checkpoint, JSON values.
        judged_by: fingerprint of what the validation loss depends on besides the weights.
        strict: whether the first trouble ends the training.
        injection: faults that are put in on purpose.
    """

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        folder: Path,
        store: CheckpointStore,
        progress: Mapping[str, Any],
        facts: Mapping[str, Any],
        judged_by: str,
        strict: bool = False,
        injection: Injection | None = None,
    ):
        config = task.config
        training, safety = config.training, config.safety
        self.task, self.config, self.model, self.folder, self.store, self.progress = task, config, model, folder, store, progress
        self.injection = injection or Injection()
        self.batches_per_epoch = training.steps_per_epoch * training.accumulate_steps
        self.batches = self.injection.batches(task.batches, training.accumulate_steps, self.batches_per_epoch)
        self.validation = ValidationSet(self.injection.validation(task.validation))
        self.first_step = progress.get("step", 0)
        self.detours = Detours(progress.get("detours", ()))
        self.policy = RecoveryPolicy(training.max_skipped_in_a_row, safety.most_returns, strict, progress.get("recovery"))
        self.snapshots = Snapshots(safety.snapshot_every_steps, safety.keep_snapshots, CheckpointStore(folder / "snapshots", 2 * safety.keep_snapshots))
        named = progress.get("snapshots", ())
        self.snapshots.restore(named, Snapshot(self.first_step, read_state(model), progress) if self.first_step in named else None)
        self.detector = SpikeDetector(safety.spike_threshold)
        self.detector.restore(progress.get("detector"))
        self.guard = TerminateOnNonFinite(1 if strict else training.max_skipped_in_a_row, validation=False)
        self.guard.restore(progress.get("bad_losses", 0))
        self.best = KeepBest(folder, training.steps_per_epoch, training.early_stopping_patience, judged_by, progress)
        self.facts = dict(facts)
        self._source = None
        self._failed_reads = []

    def run(self) -> LogSteps:
        """Trains; returns what counted the steps.

        Raises:
            TrainingStopped: the safety policy ended it, now or before, when nothing was left in which it could recover.
            KeyboardInterrupt: a signal came; a checkpoint was written.
        MachineError: the disk still refused the last checkpoint or model at the end.
        """
        training, progress = self.config.training, self.progress
        if progress.get("stopped") and (self.best.ended_early or self.first_step >= training.epochs * training.steps_per_epoch):
            raise TrainingStopped(f"{progress['stopped']} It had come to its end, and nothing was trained now. Begin another run: --resume=never, or another folder.")
        logging = self.config.logging
        with (
            RunLog(self.folder, self.first_step, len(self.policy.returns)) as log,
            tensorboard_scalars(self.folder / "tensorboard", logging.tensorboard, self.first_step) as tensorboard,
            Interruption() as interruption,
        ):
            self._say_resumed(log)
            steps = self.steps = LogSteps(
                log, training.steps_per_epoch, training.accumulate_steps, self.first_step, logging.every_n_steps, training.epochs, tensorboard
            )
            self.injection.steps = steps
            record = self.record = IncidentRecord(self)
            watch = WatchSteps(steps, self.guard, self.detector, self.snapshots, self.policy, record.write, self._take_failures)
            self.saving = SaveCheckpoint(self.store, log, steps, self.best, interruption, self._facts, tensorboard, self.snapshots)
            callbacks = [ValidateAveragedWeights(), steps, self.guard, watch, *self.task.callbacks(self._alarm), self.best, self.saving, self.injection]
            self._all_legs(callbacks)
            if interruption.received is not None:  # after the last checkpoint
                interruption.act()
            self.saving.require_written()
        return self.steps

    def _alarm(self, name, words):
        """Says and logs what is wrong without being a fault of a step."""
        self.steps.log.event("alarm", self.steps.step, self.steps.step // self.config.training.steps_per_epoch, alarm=name, reason=words)
        print(f"step {self.steps.step}: {words}", file=sys.stderr, flush=True)

    def _say_resumed(self, log):
        if not self.progress:
            return
        epoch, done = divmod(self.first_step, self.config.training.steps_per_epoch)
        before, now = self.progress.get("backend"), keras.backend.backend()
        log.event("resume", self.first_step, epoch, from_backend=before)
        words = f"resumed at epoch {epoch + 1}, step {self.first_step}" + (f", {done} step{'s' if done > 1 else ''} into the epoch" if done else "")
        if before not in (None, now):
            words += f"; trained with {before} before, goes on with {now}: the same training, but not bit for bit"
        print(words, file=sys.stderr)

    def _facts(self):
        kept = [*self.snapshots.steps(), *self.store.steps(), self.steps.step]
        self.detours.forget_before(min(kept) * self.config.training.accumulate_steps)  # to before that no return leads
        return {**self.facts, "recovery": self.policy.state(), "detours": self.detours.windows(), "detector": self.detector.state(), "bad_losses": self.guard.bad_losses}

    def _all_legs(self, callbacks):
        while True:
            try:
                for epoch, done, end in _legs(self.steps.step, self.config.training.steps_per_epoch, self.config.training.epochs):
                    if not self.best.ended_early:
                        self._leg(callbacks, epoch, done, end)
                return
            except Turn as turn:
                self._return(turn)
            except Stop as stop:
                self._stop(stop)

    def _return(self, turn):
        """Goes back to an older state, from which `fit` is called again."""
        accumulate = self.config.training.accumulate_steps
        state = self._state_to_return_to(turn.step)
        self.policy.returned(turn.step, state.step, turn.action)
        first, last = max(state.step, turn.step - 1 - WINDOW_STEPS), turn.step - 1 + WINDOW_STEPS
        self.detours.add(first * accumulate, (last + 1) * accumulate - 1)
        epoch, factor = state.step // self.config.training.steps_per_epoch, self.policy.rate_factor
        self.steps.log.event("recovery", turn.step, epoch, action=turn.action, to_step=state.step, rate_factor=factor)
        self._go_on_from(state, slower=turn.action == "roll_back_slower")
        slower = f", at {factor:g} times the learning rate" if factor != 1.0 else ""
        print(f"returned from step {turn.step} to step {state.step}{slower}; other examples up to step {last + 1}", file=sys.stderr, flush=True)

    def _go_on_from(self, state, slower=False, **facts):
        """Makes an older state the one that the run has come to, at the learning rate of the policy; `slower` begins its warm-up anew.

        The checkpoint comes first, which deletes those of later steps, and only then the log is cut: a kill at any moment leaves a checkpoint that the log reaches.
        """
        write_state(self.model, state.arrays)
        rate, factor = self.model.optimizer.recoverable_rate, self.policy.rate_factor
        if slower or float(rate.factor) != factor:
            rate.change(factor, int(self.model.optimizer.iterations))
        self.detector.go_back(state.notes.get("detector"))
        # With the rate and the spikes that the training goes on with, as its checkpoint has them.
        self.snapshots.add(state.step, read_state(self.model), {**state.notes, "detector": self.detector.state()})
        self.guard.restore(state.notes.get("bad_losses", 0))
        self.steps.step = state.step
        self.saving.save(returning=True, **facts)
        if self.saving.disk.failed:
            self.store.drop_after(state.step)  # which makes room
            self.saving.save(returning=True, **facts)
        self.steps.rewind(state.step, len(self.policy.returns))

    def _stop(self, stop):
        """Saves what the training can go on from, and ends it."""
        state = None if stop.sound else self._state_to_return_to(stop.step)
        step = self.steps.step if state is None else state.step
        words = f"{stop} The state of step {step} is saved in {self.store.folder / str(step)}."
        if state is None:
            self.saving.save(stopped=words)
        else:
            self._go_on_from(state, stopped=words)
        refusal = self.saving.disk.refusal
        raise TrainingStopped((f"{stop} The state is lost: {refusal}." if refusal else words) + stop.advice) from None

    def _state_to_return_to(self, step):
        """The newest state that has proven itself: in memory, else on the disk, else the oldest in memory."""
        earlier = self.policy.earlier_return(step)
        state = self.snapshots.trusted(step, earlier)
        if state is not None and step - state.step > PROVING_STEPS:
            return state
        # Of checkpoints only those that every course of this training has.
        epochs = [other for other in self.store.steps() if other % self.config.training.steps_per_epoch == 0]
        for older in reversed([other for other in epochs if step - other > PROVING_STEPS and (earlier is None or other < earlier)]):
            try:
                checkpoint = load_checkpoint(self.store.folder / str(older))
            except KSeparationError:
                continue  # damaged
            return Snapshot(checkpoint.step, checkpoint.arrays, checkpoint.progress)
        # Where there is none older, the same again.
        return state or (self.snapshots.trusted(step, earlier + 1) if earlier is not None else None) or self.snapshots.trusted(step)

    def _take_failures(self):
        """What could not be read for the steps done so far, which is drawn anew from now on; batches that were read ahead come later."""
        with contextlib.suppress(IndexError):
            while True:  # a thread of the backend may add to it meanwhile
                self._failed_reads.append(self._source.failures.popleft())
        done = self.steps.step * self.config.training.accumulate_steps
        due = [failure for failure in self._failed_reads if failure.position < done]
        self._failed_reads = [failure for failure in self._failed_reads if failure.position >= done]
        for failure in due:
            self.detours.add(failure.position, failure.position)
        return due

    def batches_of(self, positions):
        """Returns the batches of these positions that were handed out last, by position; older ones are missing."""
        return {position: batch for position, batch in list(self._source.handed_out) if position in positions} if self._source is not None else {}

    def _leg(self, callbacks, epoch, done, end):
        training, spec = self.config.training, self.task.batch_spec()
        first_batch = done * training.accumulate_steps
        errors = []

        def remembering(source):
            try:
                yield from source
            except Exception as error:
                errors.append(error)
                raise

        self.model.set_micro_batches(epoch * self.batches_per_epoch + first_batch)
        self._failed_reads = []
        keep = training.accumulate_steps + READ_AHEAD
        with SegmentStream(self.batches, self.batches_per_epoch, epoch, self.config.data.workers, first_batch, self.detours, keep) as self._source:
            try:
                self.model.fit(
                    fit_input(remembering(self._source), spec),
                    steps_per_epoch=self.batches_per_epoch - first_batch,
                    initial_epoch=epoch,
                    epochs=end,
                    validation_data=fit_input(self.validation, spec),
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            except (KSeparationError, Turn, Stop):  # a stop, a return or a full disk, whatever was read ahead meanwhile
                raise
            except Exception:
                # TensorFlow hides what went wrong in reading behind an error of its own.
                for error in (*errors, *self.validation.failures):
                    raise (self._nothing_to_read(error) if isinstance(error, UnreadableBatch) else error) from None
                raise

    def _nothing_to_read(self, unreadable):
        """Keeps the evidence where no draw of a batch can be read, and returns the error that ends the training."""
        last = unreadable.failures[-1]
        step, epoch = self.steps.step, self.steps.step // self.config.training.steps_per_epoch
        if self.steps.between_steps and not self.steps.ends_epoch:
            self.saving.save()
        reason = f"Batch {last.position} of the run could not be read, nor could the {len(unreadable.failures) - 1} drawn in its place: {last.error}".rstrip(".")
        folder = self.record.write("unreadable", "stop", step, epoch, reason, last.trace, {"position": last.position, "draw": last.draw})
        self.steps.log.event("fault", step, epoch, event="unreadable", action="stop", position=last.position, draw=last.draw, incident=folder and str(folder))
        if not isinstance(last.error, UserError):
            return last.error
        newest = max(self.store.steps(), default=None)
        saved = "" if newest is None else f" The state of step {newest} is saved."
        return UserError(f"{str(last.error).rstrip('.')}.{saved} Mend what is named, and give the same command again." + (f" The evidence: {folder}" if folder else ""))
def _legs(first_step, steps_per_epoch, epochs):
    """Yields (epoch, steps done in it, last epoch) for each call of `fit`: an epoch that was interrupted is ended by a call of its own."""
    epoch, done = divmod(first_step, steps_per_epoch)
    if done and epoch < epochs:
        yield epoch, done, epoch + 1
        epoch += 1
    if epoch < epochs:
        yield epoch, 0, epochs

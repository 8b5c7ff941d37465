"""The callbacks with which `train` follows a run: log, progress, checkpoints, the best model."""

import contextlib
import errno
import sys
from collections import deque
from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from kseparation.errors import MachineError
from kseparation.storage.atomic import atomic_file
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.training.full_disk import SurviveFullDisk
from kseparation.training.interruption import Interruption
from kseparation.training.run_log import LOSSES_FILE, RunLog
from kseparation.training.snapshots import Snapshots
from kseparation.training.state import read_state
from kseparation.training.weight_averaging import averaged_weights

# Keras' own running mean, which one bad step spoils for an epoch; `total` takes its place.
KERAS_MEAN = "loss"
VALIDATION = "val_"
# Losses of so many steps are kept in memory, for an incident.
RECENT_STEPS = 256


def save_model(model: keras.Model, path) -> None:
    """Writes a `.keras` file with the averaged weights; it takes its name only when it is complete."""
    with averaged_weights(model), _without_optimizer(model), atomic_file(path) as temporary:
        model.save(temporary)


@contextlib.contextmanager
def _without_optimizer(model):
    # Keras' `include_optimizer=False` leaves out how it was compiled, but writes the optimizer's variables, five times the weights.
    optimizer, model.optimizer = model.optimizer, None
    try:
        yield
    finally:
        model.optimizer = optimizer


class LogSteps(keras.callbacks.Callback):
    """Writes each step to the log and shows it.

    Args:
        log: of the run.
        steps_per_epoch: optimizer steps in an epoch.
        accumulate_steps: micro-batches in an optimizer step.
        first_step: steps done before this process.
        every_n_steps: distance of the lines in `metrics.jsonl`.
        epochs: of the whole training, for display.
        tensorboard: a `TensorboardScalars` or None.

    Attributes:
        step: steps done.
        recent: `{"step", "<part>"...}` of the last steps.
        rejected: whether the last step was.
    """

    def __init__(self, log: RunLog, steps_per_epoch: int, accumulate_steps: int, first_step: int, every_n_steps: int, epochs: int, tensorboard=None):
        super().__init__()
        self.log = log
        self.steps_per_epoch = steps_per_epoch
        self.accumulate_steps = accumulate_steps
        self.step = first_step
        self.every_n_steps = every_n_steps
        self.epochs = epochs
        self.tensorboard = tensorboard
        self.recent = deque(log.last_steps(RECENT_STEPS), maxlen=RECENT_STEPS)
        self.rejected = False
        self._pending = []  # parts of the micro-batches of a step that is not whole

    def on_train_begin(self, logs=None):
        self._skipped = int(self.model.optimizer.skipped_steps) if self.model.optimizer.built else 0
        self._next_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._in_epoch = []
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=self.steps_per_epoch, initial=self.step % self.steps_per_epoch, desc=f"epoch {epoch + 1}/{self.epochs}", unit="step", disable=not terminal, leave=False)

    def on_train_batch_end(self, batch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items() if name != KERAS_MEAN}
        scores = {name: values.pop(name) for name in self.model.score_names}
        self._pending.append(values)
        if len(self._pending) < self.accumulate_steps:
            return
        # Parts are kept in the order of the log of Keras, sorted, but for the total in front.
        names = sorted(self._pending[0], key=lambda name: (name != "total", name))
        parts = {name: float(np.mean([step[name] for step in self._pending])) for name in names}
        self._pending = []
        self.step += 1
        self.log.step(self.step, parts)
        self._in_epoch.append(parts["total"])
        self.recent.append({"step": self.step, **parts})
        optimizer = self.model.optimizer
        skipped = int(optimizer.skipped_steps)
        self.rejected, self._skipped = skipped > self._skipped, skipped
        rate, self._next_rate = self._next_rate, float(optimizer.learning_rate)
        self._bar.update()
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in parts.items()})
        if self.step % self.every_n_steps == 0:
            self._event(parts, scores, rate, skipped)

    @property
    def between_steps(self) -> bool:
        """Whether the last micro-batch ended an optimizer step."""
        return not self._pending

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step was the last one of its epoch."""
        return self.step % self.steps_per_epoch == 0

    def rewind(self, step: int, course: int) -> None:
        """Forgets the steps after `step`, where the training goes on from an older state."""
        self.step = step
        self.log.rewind(step, course)
        self._pending = []
        self.recent = deque((row for row in self.recent if row["step"] <= step), maxlen=RECENT_STEPS)
        if self.tensorboard is not None:
            self.tensorboard.restart(step)

    def say(self, words: str, last: bool) -> None:
        """Prints a line above the progress bar, `last` for good."""
        tqdm.write(words, file=sys.stderr)
        if last:
            self._bar.close()

    @staticmethod
    def named(parts: dict) -> dict:
        """Returns the parts of a loss as the log names them, the total first, as `loss`."""
        return {"loss": parts["total"], **{name: value for name, value in parts.items() if name not in ("total", "step")}}

    def _event(self, parts, scores, rate, skipped):
        state = {**scores, "lr": rate, "grad_norm": float(self.model.optimizer.gradient_norm), "skipped_steps": skipped}
        self.log.event("train", self.step, self._epoch, **self.named(parts), **state)
        if self.tensorboard is not None:
            for name, value in {**self.named(parts), **state}.items():
                if np.isfinite(value):
                    self.tensorboard.add_scalar(f"train/{name}", value, self.step)

    def on_epoch_end(self, epoch, logs=None):
        self._bar.close()
        values = {name.removeprefix(VALIDATION): float(value) for name, value in (logs or {}).items() if name.startswith(VALIDATION)}
        finite = [value for value in self._in_epoch if np.isfinite(value)]
        mean = float(np.mean(finite)) if finite else float("nan")
        line = f"epoch {epoch + 1}/{self.epochs}  step {self.step}  loss {mean:.4g}"
        if values:
            values.pop(KERAS_MEAN, None)
            scores = self.model.validation_scores({name: values.pop(name) for name in self.model.score_names})
            named = {**self.named(values), **scores}
            self.log.event("validation", self.step, epoch, **named)
            line += f"  validation loss {named['loss']:.4g}  {self.model.score_words(scores)}"
            if self.tensorboard is not None:
                for name, value in named.items():
                    if np.isfinite(value):
                        self.tensorboard.add_scalar(f"validation/{name}", value, self.step)
        skipped = int(self.model.optimizer.skipped_steps)
        print(line + (f"  skipped steps {skipped}" if skipped else ""), file=sys.stderr, flush=True)


class KeepBest(keras.callbacks.Callback):
    """Saves the best and the last model, and ends a training that no longer improves.

    Args:
        folder: of the run.
        steps_per_epoch: optimizer steps in an epoch.
        patience: epochs without a better validation loss before the end; None never ends.
        judged_by: tells apart what gives validation losses that cannot be compared.
        progress: of the checkpoint that an earlier process left.

    Attributes:
        ended_early: whether the patience is at an end.
    """

    def __init__(self, folder, steps_per_epoch: int, patience: int | None, judged_by: str = "", progress: dict | None = None):
        super().__init__()
        progress = progress or {}
        self.folder = folder
        self.steps_per_epoch = steps_per_epoch
        self.patience = patience
        self.judged_by = judged_by
        self.last_disk, self.best_disk = (SurviveFullDisk("at the end of the next epoch") for _ in range(2))
        self.best_loss, self.best_step = float("inf"), None
        if progress.get("best_loss") is not None and progress.get("judged_by") == judged_by:
            self.best_loss, self.best_step = float.fromhex(progress["best_loss"]), progress["best_step"]
        self.ended_early = self._patience_is_over(progress.get("step", 0))

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        loss = float(logs.get(VALIDATION + "total", logs.get("total", float("nan"))))
        step = (epoch + 1) * self.steps_per_epoch
        with self.last_disk.attempt("last.keras"):
            save_model(self.model, self.folder / "last.keras")
        if loss < self.best_loss:
            with self.best_disk.attempt("model.keras"):
                save_model(self.model, self.folder / "model.keras")
                # Only with its file: else the next epoch that is better than the file's would be passed over.
                self.best_loss, self.best_step = loss, step
        elif np.isfinite(loss) and self._patience_is_over(step):  # what is not finite tells nothing
            self.ended_early = True
            self.model.stop_training = True

    def _patience_is_over(self, step):
        return self.patience is not None and self.best_step is not None and step - self.best_step >= self.patience * self.steps_per_epoch

    def progress(self) -> dict:
        """Returns what a later process needs to go on."""
        best = None if not np.isfinite(self.best_loss) else self.best_loss.hex()
        return {"best_loss": best, "best_step": self.best_step, "judged_by": self.judged_by}


class SaveCheckpoint(keras.callbacks.Callback):
    """Writes the whole state, from which the same command goes on: at the end of each epoch, and where the training ends before its time.

    Comes after all other callbacks of the run, whose work it saves.

    Args:
        store: of the run.
        log: of the run; put on the disk before the checkpoint that counts its lines.
        steps: gives the number of steps done.
        best: whose progress is kept with the state.
        interruption: ends the training after the step in which a signal came.
        facts: returns what else is kept with each state, JSON values.
        snapshots: of the training, which are put on the disk before the checkpoint that names them, or None.
        tensorboard: writer whose events are put on the disk with the log, or None.
    """

    def __init__(
        self,
        store: CheckpointStore,
        log: RunLog,
        steps: LogSteps,
        best: KeepBest,
        interruption: Interruption,
        facts: Callable[[], dict] = dict,
        tensorboard=None,
        snapshots: Snapshots | None = None,
    ):
        super().__init__()
        self.facts = facts
        self.snapshots = snapshots
        self.tensorboard = tensorboard
        self.store = store
        self.log = log
        self.steps = steps
        self.best = best
        self.interruption = interruption
        self.disk = SurviveFullDisk("at the end of the next epoch")

    def on_train_batch_end(self, batch, logs=None):
        if not self.steps.between_steps or self.steps.ends_epoch:
            return  # at the end of an epoch the validation comes first: a run that goes on from here would never make up for it
        if self.interruption.received is not None:
            self.save()
            self._act()

    def on_epoch_end(self, epoch, logs=None):
        self.save()
        if self.interruption.received is not None:
            self._act()

    def _act(self):
        self.disk.require_written()  # else who interrupts would believe that it was
        self.interruption.act()

    def save(self, returning: bool = False, **facts) -> None:
        """Writes a checkpoint now, with further facts.

        Args:
            returning: whether it is of an older state: then the snapshots of this step and of later ones stay as they are until it is written, for the checkpoints from before the return still need them.
        """
        self.log.flush()
        if self.tensorboard is not None:
            self.tensorboard.flush()
        if self.snapshots is not None:
            facts["snapshots"] = self.snapshots.steps()
        progress = {"step": self.steps.step, "backend": keras.backend.backend(), **self.best.progress(), **self.facts(), **facts}
        with self.disk.attempt(f"the checkpoint of step {self.steps.step}"):
            if self.log.waiting:  # whoever goes on from here would miss those lines for good
                raise OSError(errno.ENOSPC, f"{self.log.waiting} lines of {LOSSES_FILE} wait for the disk")
            if self.snapshots is not None:
                self.snapshots.write(before=self.steps.step if returning else None)
            self.store.save(self.steps.step, read_state(self.model), progress, retain=[self.best.best_step] if self.best.best_step else [])
            if self.snapshots is not None:
                self.snapshots.write()

    def require_written(self) -> None:
        """Raises MachineError where the last checkpoint or model could not be written, at the end of a training."""
        if self.disk.refusal is not None and not self.store.steps():
            what = f"{self.disk.refusal[0].upper()}{self.disk.refusal[1:]}, nor could any before it"
            raise MachineError(f"{what}: the run has nothing to go on from, only its models. Free space there, and train anew in another --run_dir.")
        for disk in (self.disk, self.best.last_disk, self.best.best_disk):
            disk.require_written()

"""Callbacks for anyone's `model.fit`: stop where a training has gone bad, and clip gradients."""

import keras
import numpy as np

from kseparation.training.clipping import FixedNorm, PercentileNorm
from kseparation.training.guarded_optimizer import GuardedOptimizer

# The key under which models of this package log the loss of one step; Keras' own `loss` is a running mean.
STEP_LOSS = "total"


class TerminateOnNonFinite(keras.callbacks.Callback):
    """Ends `fit` when the loss, or too many steps in a row, are not finite; unlike Keras' own callback it sees infinity, and names the step.

    With a `GuardedOptimizer` single bad steps are harmless, and the training ends after `in_a_row` rejected ones; those by which mixed precision finds its loss scale do not count.
    With any other optimizer the weights may be lost at the first, so the training ends there. A validation loss that is not finite ends it too.

    Args:
        in_a_row: rejected steps in a row that end the training.
        monitor: key of the log that holds the loss; a `GuardedOptimizer` judges for itself.
        validation: whether a validation loss that is not finite ends the training too.

    Attributes:
        reason: why the training was ended, or None.
        rejected: steps in a row, up to the last one, whose rejection no loss scale that is being looked for explains.
        bad_losses: steps in a row, up to the last one, whose own loss was not finite.

    Example:

    >>> guard = TerminateOnNonFinite(in_a_row=10)
    >>> guard.reason is None
    True
    """

    def __init__(self, in_a_row: int = 10, monitor: str = "loss", validation: bool = True):
        super().__init__()
        if in_a_row < 1:
            raise ValueError(f"`in_a_row` must be at least 1. Received: in_a_row={in_a_row}")
        self.in_a_row = in_a_row
        self.monitor = monitor
        self.validation = validation
        self._epoch = 0
        self.restore()

    def on_train_begin(self, logs=None):
        if self.reason is not None:  # of an earlier `fit`, which ended
            self.restore()

    def restore(self, bad_losses: int = 0) -> None:
        """Begins anew, with the `bad_losses` of the state that the training goes on from; its optimizer holds what else is counted."""
        self.reason = None
        self.rejected = 0
        self.bad_losses = bad_losses
        self._bad_loss = False  # in the step that is being accumulated

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        optimizer = self.model.optimizer
        if isinstance(optimizer, GuardedOptimizer):
            if optimizer.built:
                self._look_at_guarded(optimizer, (logs or {}).get(STEP_LOSS))
            return
        value = (logs or {}).get(self.monitor)
        if value is not None and not np.isfinite(float(value)):
            self._stop(f"`{self.monitor}` is {float(value)} at batch {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        for key in (f"val_{self.monitor}", f"val_{STEP_LOSS}") if self.validation else ():
            value = (logs or {}).get(key)
            if value is not None and not np.isfinite(float(value)):
                self._stop(f"the validation loss after epoch {epoch + 1} is {float(value)}")

    def _look_at_guarded(self, optimizer, loss):
        # A log without the loss of the step has only running means, which tell nothing.
        self._bad_loss |= loss is not None and not np.isfinite(float(loss))
        if optimizer.accumulate_steps > 1 and int(optimizer.micro_step) > 0:
            return  # the counters stand where the last whole step left them, perhaps in another process
        self.bad_losses = self.bad_losses + 1 if self._bad_loss else 0
        self._bad_loss = False
        self.rejected = int(optimizer.skipped_in_a_row)
        if optimizer.loss_scaling:  # a scale that is being looked for does not explain a bad loss
            self.rejected = max(self.rejected, self.bad_losses)
        if self.rejected >= self.in_a_row:
            self._stop(f"{self.rejected} steps in a row had a loss, gradient or weight that is not finite, the last one step {int(optimizer.seen_steps)}")

    def _stop(self, reason):
        self.reason = reason
        self.model.stop_training = True


class GradientClipping(keras.callbacks.Callback):
    """Limits the global norm of the gradients in anyone's `model.fit`, and rejects steps that are not finite on the way.

    It wraps the model's optimizer in a `GuardedOptimizer` before the first step is compiled; state that the optimizer already has is kept. Give one of the two:

    Args:
        norm: fixed largest norm.
        percentile: the limit is this percentile of the norms of the last steps (AutoClip).
        history_steps: number of steps that the percentile looks back.

    Example:

    >>> clipping = GradientClipping(norm=1.0)
    """

    def __init__(self, norm: float | None = None, percentile: float | None = None, history_steps: int = 1000):
        super().__init__()
        if (norm is None) == (percentile is None):
            raise ValueError(f"Give either `norm` or `percentile`. Received: norm={norm}, percentile={percentile}")
        self.rule = FixedNorm(norm) if norm is not None else PercentileNorm(percentile, history_steps)

    def set_model(self, model):
        super().set_model(model)
        optimizer, settings = getattr(model, "optimizer", None), {}
        if optimizer is None:
            return
        if isinstance(optimizer, GuardedOptimizer):
            if optimizer.clipping is not None and optimizer.clipping.get_config() == self.rule.get_config():
                return
            settings = {key: getattr(optimizer, key) for key in ("accumulate_steps", "averaging", "loss_scaling", "record_steps")}
            optimizer = optimizer.inner_optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            settings, optimizer = {**settings, "loss_scaling": True}, optimizer.inner_optimizer
        if optimizer.loss_scale_factor is not None:
            raise ValueError(f"`loss_scale_factor` of the optimizer cannot be kept. Received: {optimizer.loss_scale_factor}. Use mixed_float16 without it: the scale is found.")
        guarded = GuardedOptimizer(optimizer, self.rule, **settings)
        model.optimizer = guarded
        if model.built:
            guarded.build(model.trainable_variables)
        # A step compiled with the old optimizer must not be used again.
        model.train_function = None

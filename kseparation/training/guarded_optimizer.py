"""An optimizer that a bad step cannot hurt."""

import warnings

import keras
from keras import ops

from kseparation.layers.state_gate import take_back_unless
from kseparation.ops.norms import euclidean_norm
from kseparation.training.clipping import FixedNorm, PercentileNorm
from kseparation.training.recoverable_rate import RecoverableRate
from kseparation.training.step_record import StepRecord

FIRST_LOSS_SCALE = 2.0**15
LOSS_SCALE_GROWTH_STEPS = 2000
# Of the gradients, or of one weight: beyond it, squares overflow float32 on some backends and not on others, and no training has come back.
LARGEST_NORM = 1e18


@keras.saving.register_keras_serializable("kseparation")
class GuardedOptimizer(keras.optimizers.Optimizer):
    """Wraps any Keras optimizer: a step whose gradients or new weights are not finite, or absurdly large, is undone and counted.

    In this order: undo the loss scale, add to the accumulated gradients, take their global norm, reject the step where it is not finite, clip, let the wrapped
    optimizer work, update the averaged weights. A rejected step leaves weights, slots, schedule and averages as they were, bit for bit: both outcomes are computed and one
    is selected, so that a compiled step needs no branch and no look at the device. A bad micro-batch drops the whole accumulated step. Statistics of layers
    are not the optimizer's: see `step_with_sound_statistics`.

    Args:
        inner_optimizer: the optimizer that does the work; its learning rate schedule counts steps that were applied.
        clipping: `FixedNorm`, `PercentileNorm` or None for no clipping.
        accumulate_steps: number of micro-batches whose gradients are averaged to one step, at least 1.
        averaging: decay of the averaged weights per step, 0 to below 1; 0 keeps none. It rises from zero with the number of steps, `min(averaging, (1 + n) / (10 + n))`.
        loss_scaling: whether the loss is scaled up so that small gradients survive float16. The scale is halved at each rejected step, not below 1, and doubled
            after 2000 good ones.
        record_steps: number of last steps of which gradient norms and sizes of updates are kept for each layer (`StepRecord`); 0 keeps none.

    Attributes:
        sound: whether gradients and new weights of the last micro-batch, with those of the same step before it, were finite.

    References: the decay's warm-up is that of TensorFlow's `ExponentialMovingAverage(num_updates=...)`.
    """

    sound = None  # until it is built

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        clipping: FixedNorm | PercentileNorm | None = None,
        accumulate_steps: int = 1,
        averaging: float = 0.0,
        loss_scaling: bool = False,
        record_steps: int = 0,
        name: str = "guarded_optimizer",
    ):
        super().__init__(learning_rate=0.0, name=name)
        if accumulate_steps < 1:
            raise ValueError(f"`accumulate_steps` must be at least 1. Received: accumulate_steps={accumulate_steps}")
        if not 0 <= averaging < 1:
            raise ValueError(f"`averaging` must lie between 0 and below 1. Received: averaging={averaging}")
        self.inner_optimizer = inner_optimizer
        self.clipping = clipping
        self.accumulate_steps = accumulate_steps
        self.averaging = averaging
        self.loss_scaling = loss_scaling
        self.record_steps = record_steps
        self.record = StepRecord(record_steps) if record_steps else None

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)

        def counter(name, dtype="int32", shape=(), initializer="zeros"):
            return self.add_variable(shape=shape, dtype=dtype, initializer=initializer, name=name)

        self.seen_steps = counter("seen_steps")
        self.skipped_steps = counter("skipped_steps")
        self.skipped_in_a_row = counter("skipped_in_a_row")
        self.clipped_steps = counter("clipped_steps")
        self.gradient_norm = counter("gradient_norm", "float32")
        self.sound = counter("sound", initializer="ones")
        if self.clipping is not None:
            self.norm_history = counter("norm_history", "float32", (self.clipping.history_steps,))
        if self.loss_scaling:
            scale = keras.initializers.Constant(FIRST_LOSS_SCALE)
            self.loss_scale = counter("loss_scale", "float32", initializer=scale)
            self.good_steps = counter("good_steps")
        if self.accumulate_steps > 1:
            self.micro_step = counter("micro_step")
            self.accumulated = [self.add_variable_from_reference(v, name="accumulated") for v in variables]
        if self.averaging:
            self.averaged_steps = counter("averaged_steps")
            self.averages = [self.add_variable_from_reference(v, name="average") for v in variables]
        if self.record is not None:
            self.record.build(self, variables)
        if self.recoverable_rate is not None:
            self.recoverable_rate.build(self)
        self.inner_optimizer.build(variables)
        super().build(variables)

    @property
    def recoverable_rate(self) -> RecoverableRate | None:
        """The learning rate that can be lowered in mid-run, where the wrapped optimizer has one."""
        # Keras' own attribute: `learning_rate` gives the number that the schedule has now.
        schedule = self.inner_optimizer._learning_rate
        return schedule if isinstance(schedule, RecoverableRate) else None

    @property
    def variables(self):
        return self._variables + self.inner_optimizer.variables

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        variables = list(trainable_variables) if trainable_variables is not None else self._trainable_variables
        if not variables:
            return
        gradients, variables = self._with_gradients(grads, variables)
        if self.loss_scaling:
            gradients = [gradient / self._value(self.loss_scale) for gradient in gradients]
        if self.accumulate_steps > 1:
            gradients, due = self._accumulate(gradients, variables)
        else:
            due = ops.convert_to_tensor(True)
        # Stacked, for XLA would repeat a chain of additions in front of each of its thousands of uses, and compile for minutes.
        norms = ops.stack([euclidean_norm(gradient) for gradient in gradients])
        norm = euclidean_norm(norms)
        finite = norm < LARGEST_NORM
        accepted = ops.logical_and(due, finite)
        gradients = self._clip(gradients, norm, due, finite, accepted)
        rate = ops.cast(self.inner_optimizer.learning_rate, "float32") if self.record is not None else None
        sound, changes = self._apply_inner(gradients, variables, accepted)
        finite = ops.logical_and(finite, sound)
        accepted = ops.logical_and(due, finite)
        self.sound.assign(ops.cast(finite, "int32"))
        self._count(norm, due, finite)
        if self.record is not None:
            self.record.write(self._value(self.seen_steps), norms, changes, variables, norm, rate, accepted, due)
        if self.averaging:
            self._average(accepted)

    @staticmethod
    def _with_gradients(gradients, variables):
        """Returns the gradients that there are as float32, and their variables. As in Keras, a variable without one is warned of, and none at all is an error."""
        pairs = [(ops.cast(gradient, "float32"), variable) for gradient, variable in zip(gradients, variables, strict=True) if gradient is not None]
        if not pairs:
            raise ValueError("No variable has a gradient. Received: None for each. Let the loss depend on the weights of the model.")
        if len(pairs) < len(variables):
            missing = [variable.path for gradient, variable in zip(gradients, variables, strict=True) if gradient is None]
            warnings.warn(f"The loss does not depend on these variables, which stay as they are: {', '.join(missing)}", stacklevel=2)
        return map(list, zip(*pairs, strict=True))

    @staticmethod
    def _value(variable):
        return ops.convert_to_tensor(variable)

    def _accumulate(self, gradients, variables):
        """Adds this micro-batch; returns the mean gradients and whether the step is due."""
        sums = [self.accumulated[self._get_variable_index(variable)] for variable in variables]
        totals = [self._value(kept) + gradient / self.accumulate_steps for kept, gradient in zip(sums, gradients, strict=True)]
        micro_step = self._value(self.micro_step) + 1
        due = micro_step >= self.accumulate_steps
        for kept, total in zip(sums, totals, strict=True):
            kept.assign(ops.where(due, ops.zeros_like(total), total))
        self.micro_step.assign(ops.where(due, ops.zeros_like(micro_step), micro_step))
        return totals, due

    def _clip(self, gradients, norm, due, finite, accepted):
        if self.clipping is None:
            return gradients
        norm = ops.where(finite, norm, ops.ones_like(norm))
        seen = self._value(self.seen_steps) - self._value(self.skipped_steps)  # accepted steps before this one
        slots = ops.arange(self.clipping.history_steps, dtype="int32")
        here = ops.logical_and(slots == seen % self.clipping.history_steps, accepted)
        history = ops.where(here, norm, self._value(self.norm_history))
        self.norm_history.assign(history)
        limit = self.clipping.limit(history, seen + ops.cast(accepted, "int32"), norm)
        clipped = ops.logical_and(accepted, norm > limit)
        self.clipped_steps.assign(self._value(self.clipped_steps) + ops.cast(clipped, "int32"))
        factor = ops.where(clipped, limit / norm, ops.ones_like(norm))
        return [gradient * factor for gradient in gradients]

    def _apply_inner(self, gradients, variables, accepted):
        """Makes the step where it is accepted and its weights are finite; returns whether they are, and the norm of the change of each where steps are recorded."""
        # The wrapped optimizer may write in place, so the old values are copies.
        state = [*variables, *self.inner_optimizer.variables]
        old = [ops.copy(self._value(variable)) for variable in state]
        self.inner_optimizer.apply([ops.cast(g, v.dtype) for g, v in zip(gradients, variables, strict=True)], variables)
        # Not what has changed: a weight that went wrong between two steps is seen too.
        finite = ops.all(ops.stack([euclidean_norm(self._value(variable)) for variable in variables]) < LARGEST_NORM)
        changes = None
        if self.record is not None:
            changes = ops.stack([euclidean_norm(self._value(now) - before) for now, before in zip(variables, old, strict=False)])
        accepted = ops.logical_and(accepted, finite)
        take_back_unless(accepted, state, old)
        return finite, changes

    def _count(self, norm, due, finite):
        skipped = ops.cast(ops.logical_and(due, ops.logical_not(finite)), "int32")
        in_a_row = self._value(self.skipped_in_a_row)
        # Above a scale of 1 a rejected step may only have shown that the scale is too large.
        fault = skipped * ops.cast(self._value(self.loss_scale) <= 1.0, "int32") if self.loss_scaling else skipped
        self.skipped_in_a_row.assign(ops.where(due, (in_a_row + fault) * skipped, in_a_row))
        self.skipped_steps.assign(self._value(self.skipped_steps) + skipped)
        self.seen_steps.assign(self._value(self.seen_steps) + ops.cast(due, "int32"))
        self.gradient_norm.assign(ops.where(due, norm, self._value(self.gradient_norm)))
        if self.loss_scaling:
            scale, good = self._value(self.loss_scale), self._value(self.good_steps)
            counted = ops.where(finite, good + 1, 0)
            grow = counted >= LOSS_SCALE_GROWTH_STEPS
            changed = ops.where(finite, ops.where(grow, scale * 2.0, scale), ops.maximum(scale * 0.5, 1.0))
            # The micro-batches of one step have one scale, and a bad one among them halves it once.
            self.loss_scale.assign(ops.where(due, changed, scale))
            self.good_steps.assign(ops.where(due, ops.where(grow, 0, counted), good))

    def _average(self, accepted):
        # The optimizer's own count may have begun before the averages did.
        steps = self._value(self.averaged_steps) + ops.cast(accepted, "int32")
        self.averaged_steps.assign(steps)
        count = ops.cast(steps, "float32")
        decay = ops.minimum(self.averaging, count / (9.0 + count))
        # The first accepted step copies, so that the average never holds the zeros that it was created with.
        decay = ops.where(count <= 1.0, 0.0, decay)
        # All of them: a variable without a gradient is its own average.
        for variable, average in zip(self._trainable_variables, self.averages, strict=True):
            old = self._value(average)
            average.assign(ops.where(accepted, decay * old + (1.0 - decay) * self._value(variable), old))

    def scale_loss(self, loss):
        if not self.loss_scaling:
            return loss
        return loss * (self._value(self.loss_scale) if self.built else FIRST_LOSS_SCALE)

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self):
        """Number of steps that were applied."""
        return self.inner_optimizer.iterations

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self):
        return {
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "clipping": None if self.clipping is None else keras.saving.serialize_keras_object(self.clipping),
            "accumulate_steps": self.accumulate_steps,
            "averaging": self.averaging,
            "loss_scaling": self.loss_scaling,
            "record_steps": self.record_steps,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for key in ("inner_optimizer", "clipping"):
            config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
        return cls(**config)

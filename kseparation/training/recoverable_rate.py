"""A learning rate that a recovery can lower while the training runs."""

import keras
from keras import ops

# Steps in which the rate rises again after a recovery that lowered it.
WARMUP_STEPS = 100


@keras.saving.register_keras_serializable("kseparation")
class RecoverableRate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a factor that stands in the optimizer's state: 1 until a recovery lowers it, and then risen to in a straight line.

    The factor of a training without trouble is exactly 1, so that its rates are those of the schedule, bit for bit.

    Args:
        schedule: the learning rate over the steps.
        warmup_steps: steps of the rise after a change.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, warmup_steps: int = WARMUP_STEPS):
        if warmup_steps < 1:
            raise ValueError(f"`warmup_steps` must be at least 1. Received: warmup_steps={warmup_steps}")
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.factor = None

    def build(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Adds the factor to the variables of the optimizer."""
        self.factor = optimizer.add_variable(shape=(), dtype="float32", initializer="ones", name="rate_factor")
        # So long ago that the rise is over.
        long_ago = keras.initializers.Constant(-self.warmup_steps)
        self.changed_at = optimizer.add_variable(shape=(), dtype="int32", initializer=long_ago, name="rate_changed_at")

    def reset(self) -> None:
        """Sets the factor to what it is at the beginning."""
        self.change(1.0, -self.warmup_steps)

    def change(self, factor: float, step: int) -> None:
        """Sets the factor, to which the rate rises from step `step` of the schedule on."""
        self.factor.assign(factor)
        self.changed_at.assign(step)

    def __call__(self, step):
        rate = self.schedule(step)
        if self.factor is None:
            return rate
        since = ops.cast(step, "float32") - ops.cast(ops.convert_to_tensor(self.changed_at), "float32")
        rise = ops.minimum((since + 1.0) / self.warmup_steps, 1.0)
        return rate * (ops.convert_to_tensor(self.factor) * rise)

    def get_config(self):
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["warmup_steps"])

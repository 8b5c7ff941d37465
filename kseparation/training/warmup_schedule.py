"""Learning rate over the steps of a training."""

import math

import keras
from keras import ops

from kseparation.errors import did_you_mean

SHAPES = ("cosine", "linear_tail", "constant")
# Share of the training, after the warm-up, over which `linear_tail` falls to zero.
TAIL = 0.4


@keras.saving.register_keras_serializable("kseparation")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a straight line, then falls to zero at the last step, or stays.

    Args:
        peak: largest learning rate.
        warmup_steps: steps of the rise; the first step already moves.
        total_steps: steps of the training.
        shape: `cosine`, `linear_tail` (constant, then a straight fall over the last 40 %) or `constant`.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, shape: str = "cosine"):
        if shape not in SHAPES:
            raise ValueError(f"`schedule` is unknown. Received: {shape}. {did_you_mean(shape, SHAPES)}")
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.shape = shape

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rise = ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        rest = max(self.total_steps - self.warmup_steps, 1)
        progress = ops.clip((step - self.warmup_steps) / rest, 0.0, 1.0)
        if self.shape == "cosine":
            fall = 0.5 + 0.5 * ops.cos(math.pi * progress)
        elif self.shape == "linear_tail":
            fall = ops.minimum((1.0 - progress) / TAIL, 1.0)
        else:
            fall = ops.ones_like(progress)
        return self.peak * rise * fall

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps, "shape": self.shape}

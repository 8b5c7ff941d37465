"""The value of one loss part, step by step in training and averaged in validation."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class LossPart(keras.metrics.Metric):
    """Keeps the last value of a loss part and its mean since the last reset; which of the two it shows is said with each update.

    A mean over an epoch hides a spike and, once NaN, stays NaN: the log of a training needs the value of the step.
    """

    def __init__(self, name: str = "loss_part", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        self.last = self.add_variable(shape=(), initializer="zeros", name="last")
        self.sum = self.add_variable(shape=(), initializer="zeros", name="sum")
        self.count = self.add_variable(shape=(), initializer="zeros", name="count")
        self.running = self.add_variable(shape=(), initializer="zeros", name="running")

    def update_state(self, value, running: bool = False):
        value = ops.cast(value, "float32")
        self.last.assign(value)
        self.sum.assign_add(value)
        self.count.assign_add(1.0)
        self.running.assign(1.0 if running else 0.0)

    def result(self):
        mean = ops.convert_to_tensor(self.sum) / ops.maximum(ops.convert_to_tensor(self.count), 1.0)
        return ops.where(ops.convert_to_tensor(self.running) > 0.5, mean, ops.convert_to_tensor(self.last))

    def get_config(self):
        return {"name": self.name}

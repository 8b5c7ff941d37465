"""The number of the training step, where a compiled step can see it on every backend."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class StepCount(keras.metrics.Metric):
    """Counts the micro-batches of a training over all its epochs.

    A metric, because its state is handed through compiled steps on every backend, and is neither weight of the model nor state of the optimizer.
    """

    def __init__(self, name: str = "step_count", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        self.count = self.add_variable(shape=(), initializer="zeros", dtype="int32", name="count")

    def update_state(self, *_):
        self.count.assign(ops.convert_to_tensor(self.count) + 1)

    def reset_state(self):
        """Keeps the count: an epoch is no new training."""

    def result(self):
        return ops.convert_to_tensor(self.count)

    def get_config(self):
        return {"name": self.name}

"""How large the outputs of the layers were in the last steps."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class ActivationScales(keras.metrics.Metric):
    """Keeps the root mean square of each layer's output for the last micro-batches, of their first example alone: a look that costs a fraction of the batch.

    A metric, because its state is handed through compiled steps on every backend, and is neither weight of the model nor state of the optimizer.

    Args:
        layers: their paths.
        steps: length of the ring.
    """

    def __init__(self, layers: list[str], steps: int = 256, name: str = "activation_scales", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
        self.layers = list(layers)
        self.steps = steps
        self.scales = self.add_variable(shape=(steps, max(len(self.layers), 1)), initializer="zeros", name="scales")
        self.count = self.add_variable(shape=(), initializer="zeros", dtype="int32", name="count")

    def update_state(self, outputs):
        """Writes one row; `outputs` are tensors by path, and a layer that was not called has 0."""
        row = [ops.sqrt(ops.mean(ops.square(ops.cast(outputs[layer][:1], "float32")))) if layer in outputs else ops.zeros(()) for layer in self.layers]
        count = ops.convert_to_tensor(self.count)
        here = (ops.arange(self.steps, dtype="int32") == count % self.steps)[:, None]
        self.scales.assign(ops.where(here, ops.stack(row)[None], ops.convert_to_tensor(self.scales)))
        self.count.assign(count + 1)

    def reset_state(self):
        """Keeps the ring: an epoch is no new training."""

    def result(self):
        return ops.convert_to_tensor(self.count)

    def last(self, number: int) -> np.ndarray:
        """Returns the rows of the last `number` micro-batches, oldest first: `(number or fewer, layers)`."""
        count, ring = int(ops.convert_to_numpy(self.count)), np.array(ops.convert_to_numpy(self.scales))
        rows = np.arange(max(0, count - min(number, self.steps)), count) % self.steps
        return ring[rows, : len(self.layers)]

    def get_config(self):
        return {"layers": self.layers, "steps": self.steps, "name": self.name}

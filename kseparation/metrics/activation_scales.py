"""How large the outputs of the layers were in the last steps."""

import keras
import numpy as np
from keras import ops


def scale_of(output):
    """Returns the root mean square of a layer's output, a float32 scalar that no gradient goes through.

    Of the first example, and there of every fourth position along its longest axis: a look at all of it would cost a hundredth of a step, and a short axis, as of stems or channels, has
    positions that no other speaks for. An axis of unknown length counts as the longest.
    """
    seen = output[:1]
    if len(output.shape) > 2:
        lengths = [float("inf") if length is None else length for length in output.shape[1:]]
        seen = output[(slice(0, 1), *[slice(None)] * lengths.index(max(lengths)), slice(None, None, 4))]
    return ops.sqrt(ops.mean(ops.square(ops.cast(ops.stop_gradient(seen), "float32"))))


@keras.saving.register_keras_serializable("kseparation")
class ActivationScales(keras.metrics.Metric):
    """Keeps the root mean square of each layer's output for the last micro-batches, of a quarter of their first example: a look that costs a fraction of the batch.

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
        self.numbers = self.add_variable(shape=(steps,), initializer="zeros", dtype="int32", name="numbers")
        self.count = self.add_variable(shape=(), initializer="zeros", dtype="int32", name="count")

    def update_state(self, scales, step):
        """Writes one row.

        Args:
            scales: what `scale_of` gave, by path; a layer that was not called has 0.
            step: number of the optimizer step that the micro-batch belongs to, from 1; int32 scalar.
        """
        row = [scales[layer] if layer in scales else ops.zeros((), "float32") for layer in self.layers] or [ops.zeros((), "float32")]
        count = ops.convert_to_tensor(self.count)
        here = ops.arange(self.steps, dtype="int32") == count % self.steps
        self.scales.assign(ops.where(here[:, None], ops.stack(row)[None], ops.convert_to_tensor(self.scales)))
        self.numbers.assign(ops.where(here, ops.cast(step, "int32"), ops.convert_to_tensor(self.numbers)))
        self.count.assign(count + 1)

    def reset_state(self):
        """Keeps the ring: an epoch is no new training."""

    def result(self):
        return ops.convert_to_tensor(self.count)

    def last(self, number: int) -> np.ndarray:
        """Returns the rows of the last `number` micro-batches, oldest first: `(number or fewer, layers)`."""
        return np.array(ops.convert_to_numpy(self.scales))[self._written(number), : len(self.layers)]

    def last_steps(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the last `number` optimizer steps, ascending, and the row of the last micro-batch of each: `(number or fewer,)` and `(number or fewer, layers)`.

        A training that returned to an older state has made some steps anew: the older course is left out.
        """
        rows = self._written(self.steps)
        steps = np.array(ops.convert_to_numpy(self.numbers))[rows]
        newest = dict(zip(steps.tolist(), rows.tolist()))  # of rows of the same step the last
        kept = sorted(step for step in newest if step <= steps[-1])[-number:] if number > 0 else []
        ring = np.array(ops.convert_to_numpy(self.scales))
        return np.array(kept, "int32"), ring[np.array([newest[step] for step in kept], int), : len(self.layers)]

    def _written(self, number):
        """Places of the last rows in the ring, oldest first."""
        count = int(ops.convert_to_numpy(self.count))
        return np.arange(max(0, count - min(number, self.steps)), count) % self.steps

    def get_config(self):
        return {"layers": self.layers, "steps": self.steps, "name": self.name}

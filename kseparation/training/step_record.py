"""The last steps of a training, written on the device and read when something has happened."""

import keras
import numpy as np
from keras import ops

# Columns of one step besides those of the layers.
STEP, NORM, RATE, ACCEPTED = range(4)
SCALARS = ("step", "grad_norm", "lr", "accepted")


def layer_of(path: str) -> str:
    """Returns the path of the layer that a variable of this path belongs to.

    Example:

    >>> layer_of("moises_light/encoder_0/convolution/kernel")
    'moises_light/encoder_0/convolution'
    """
    return path.rsplit("/", 1)[0]


class StepRecord:
    """A ring of the last steps: gradient norm and size of the update of each layer, global norm, learning rate, and whether the step was accepted.

    Part of a `GuardedOptimizer`, whose variables hold it, so that checkpoints have it too. Writing costs a few small operations and no look at the device. Values that are not
    finite are kept as they are: they are the evidence.

    Args:
        steps: length of the ring.
    """

    def __init__(self, steps: int):
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
        self.steps = steps
        self._owners = {}

    def build(self, optimizer: keras.optimizers.Optimizer, variables) -> None:
        """Adds the ring to the variables of the optimizer."""
        self.layers = list(dict.fromkeys(layer_of(variable.path) for variable in variables))

        def ring(name, columns):
            return optimizer.add_variable(shape=(self.steps, columns), dtype="float32", initializer="zeros", name=name)

        self.scalars = ring("recorded_steps", len(SCALARS))
        self.gradients = ring("recorded_gradients", len(self.layers))
        self.updates = ring("recorded_updates", len(self.layers))

    def write(self, step, norms, changes, variables, norm, rate, accepted, due) -> None:
        """Writes one step over the oldest.

        Args:
            step: its number, from 1; int32 scalar.
            norms: gradient norm of each of `variables`, `(variables,)`.
            changes: norm of the change of each of them that the optimizer proposed, `(variables,)`; of a step that was not made only what is not finite though its gradient is.
            variables: to which both belong.
            norm: of all gradients together.
            rate: learning rate.
            accepted: whether the step was made.
            due: whether there was a step at all, and not only a micro-batch of one.
        """
        owners = self._owners_of(variables)

        def by_layer(values):
            return ops.sqrt(ops.sum(ops.where(owners, ops.square(values)[None], 0.0), axis=1))  # (layers,)

        # Nothing was changed by a step that was not made; what is not finite tells why it was not, unless its gradient does already.
        cause = ops.logical_and(ops.isfinite(norms), ops.logical_not(ops.isfinite(changes)))
        changes = ops.where(ops.logical_or(accepted, cause), changes, ops.zeros_like(changes))
        row = ops.stack([ops.cast(value, "float32") for value in (step, norm, rate, accepted)])
        here = ops.logical_and(ops.arange(self.steps, dtype="int32") == (step - 1) % self.steps, due)[:, None]
        for ring, values in ((self.scalars, row), (self.gradients, by_layer(norms)), (self.updates, by_layer(changes))):
            ring.assign(ops.where(here, values[None], ops.convert_to_tensor(ring)))

    def _owners_of(self, variables):
        """One row for each layer, false where a variable is of another; for `where`, because infinity times zero would spread. Kept, for torch comes here in every step."""
        key = tuple(map(id, variables))
        if key not in self._owners:
            paths = [layer_of(variable.path) for variable in variables]
            # With the variables, so that their ids stay theirs.
            self._owners[key] = (list(variables), np.array([[path == layer for path in paths] for layer in self.layers]))
        return self._owners[key][1]

    def read(self) -> dict[str, np.ndarray]:
        """Returns the recorded steps, oldest first: `step`, `grad_norm`, `lr`, `accepted` `(steps,)`, and `gradients` and `updates` `(steps, layers)`."""
        scalars, gradients, updates = (np.array(ops.convert_to_numpy(ring)) for ring in (self.scalars, self.gradients, self.updates))
        order = np.argsort(scalars[:, STEP], kind="stable")
        order = order[scalars[order, STEP] > 0]
        columns = {name: scalars[order, number] for number, name in enumerate(SCALARS)}
        return {**columns, "gradients": gradients[order], "updates": updates[order]}

"""Faults of layers and losses. They answer to a batch that is marked, so that the same batch fails again in a replay, and a batch drawn anew does not."""

import abc

import keras
import numpy as np
from keras import ops

from kseparation.errors import UserError
from kseparation.layers.output_watch import called_layers, watch_output, wrap_call
from kseparation.training.faults.injection import Fault, is_marked, mark


class _MarkedBatch(Fault):
    marks_batches = True

    def change_batch(self, mixtures, stems, micro_batch):
        if micro_batch == 0:
            mark(mixtures, stems)


class _LayerFault(_MarkedBatch, abc.ABC):
    """A fault in the output of one layer.

    Args:
        step: as in `Fault`.
        layer: part of the path of the layer; by default one from the middle of the model.
    """

    def __init__(self, step: int = 10, layer: str | None = None):
        super().__init__(step)
        self.layer = layer
        self.path = None  # of the layer that was chosen

    def change_model(self, model):
        layers = called_layers(model, np.zeros((1, min(model.segment_samples, 4096), model.channels), "float32"))
        chosen = [path for path in layers if self.layer is None or self.layer in path]
        if not chosen:
            raise UserError(f"`layer` of an injected fault is in no path of a layer. Received: {self.layer}. There are: {', '.join(layers)}.")
        self.path = chosen[len(chosen) // 2]
        seen = []  # whether the batch of this step is marked

        def look(call):
            def looking(mixture, *arguments, **keywords):
                seen[:] = [is_marked(mixture)]
                return call(mixture, *arguments, **keywords)

            return looking

        wrap_call(model, look)
        watch_output(layers[self.path], lambda output: self.spoil(output, seen[0], model) if seen else None)

    @abc.abstractmethod
    def spoil(self, output, marked, model):
        """Returns the output with the fault in it where the batch is marked."""


class LayerInfinite(_LayerFault):
    """A layer gives infinity."""

    def spoil(self, output, marked, model):
        return output + ops.cast(ops.where(marked, np.inf, 0.0), output.dtype)


class CompiledNaN(_LayerFault):
    """A layer gives NaN in the compiled step, and what it should operation by operation."""

    def require_possible(self, steps, accumulate_steps, compiled):
        super().require_possible(steps, accumulate_steps, compiled)
        if not compiled:
            raise ValueError("a step that is not compiled cannot have it. Take TensorFlow or JAX, and `training.jit_compile: auto`")

    def spoil(self, output, marked, model):
        return output if model.run_eagerly else output + ops.cast(ops.where(marked, np.nan, 0.0), output.dtype)


class GradientNaN(_LayerFault):
    """A layer takes the root of zero: its output is right, and its gradient is infinity times zero."""

    def spoil(self, output, marked, model):
        zero = ops.where(marked, ops.sum(ops.cast(output, "float32")) * 0.0, 1.0)
        root = ops.sqrt(zero)
        return output + ops.cast(root - ops.stop_gradient(root), output.dtype)


class Nondeterministic(_LayerFault):
    """A layer gives infinity at every other look at the same batch, by state that no checkpoint holds."""

    def change_model(self, model):
        self._next = _alternating()
        super().change_model(model)

    def spoil(self, output, marked, model):
        return output + ops.cast(ops.where(ops.logical_and(marked, self._next(marked)), np.inf, 0.0), output.dtype)


def _alternating():
    """Returns a function of a boolean scalar that gives true at the first call with true, false at the second, and so on, in compiled steps too."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf  # Keras lets no variable but those of the model change in a step, which is the point here

        count = tf.Variable(0, dtype="int32", trainable=False)
        return lambda asked: count.assign_add(tf.cast(asked, "int32")) % 2 == 1
    calls = [0]

    def count(asked):
        calls[0] += bool(asked)
        return np.bool_(calls[0] % 2 == 1)

    if backend == "jax":
        import jax  # the same: a compiled step calls back into Python

        return lambda asked: jax.pure_callback(count, jax.ShapeDtypeStruct((), "bool"), asked)
    return lambda asked: bool(count(bool(asked)))


class LossSpike(_MarkedBatch):
    """One part of the loss is a million times too large.

    Args:
        step, steps: as in `Fault`.
        factor: of that part.
    """

    def __init__(self, step: int = 10, steps: int = 1, factor: float = 1e6):
        super().__init__(step, steps)
        self.factor = factor
        self.part = None  # its name

    def change_model(self, model):
        if model.loss is not None:
            names, parts = model.loss.part_names(), model.loss.parts
            holder, name = model.loss, "parts"
        else:
            names, parts = model.objective_names(), model.objective_parts
            holder, name = model, "objective_parts"
        self.part = names[0]

        def spoiled(first, y_true, *rest, **keywords):
            values = dict(parts(first, y_true, *rest, **keywords))
            stems = y_true if holder is model else first
            values[self.part] = values[self.part] * ops.where(is_marked(ops.convert_to_tensor(stems)), self.factor, 1.0)
            return values

        # Not as an attribute that Keras would track.
        object.__setattr__(holder, name, spoiled)


class LossDivergence(LossSpike):
    """One part of the loss is a million times too large, again and again, whatever the batch."""

    follows_redrawn = True

    def __init__(self, step: int = 10, steps: int = 100, factor: float = 1e6):
        super().__init__(step, steps, factor)

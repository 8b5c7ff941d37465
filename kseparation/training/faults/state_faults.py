"""Faults of weights, optimizer state and learning rate, which come between two steps."""

import numpy as np
from keras import ops

from kseparation.errors import UserError
from kseparation.training.faults.injection import Fault
from kseparation.training.step_record import layer_of


def _largest(model):
    """The trainable weight with the most values."""
    return max(model.trainable_variables, key=lambda variable: int(np.prod(variable.shape)))


class BitFlip(Fault):
    """The machine flips the highest bit of the exponent of one weight.

    Attributes:
        path: of the layer.
    """

    repeats = False

    def __init__(self, step: int = 10):
        super().__init__(step)
        self.path = None

    def before_step(self, model, step):
        if not self.comes_in(step):
            return
        variable = _largest(model)
        self.path = layer_of(variable.path)
        values = np.array(ops.convert_to_numpy(variable), "float32")
        flat = values.reshape(-1)
        # A value that is not tiny, so that the flip makes it huge.
        index = int(np.argmax(np.abs(flat)))
        flat[index : index + 1].view("uint32")[:] ^= np.uint32(1 << 30)
        variable.assign(values)


class SlotNaN(Fault):
    """The machine spoils one value of the optimizer's state.

    Attributes:
        path: of the layer whose weight it belongs to.
    """

    repeats = False

    def __init__(self, step: int = 10):
        super().__init__(step)
        self.path = None

    def before_step(self, model, step):
        if not self.comes_in(step):
            return
        variable = _largest(model)
        # Keras names the state of an optimizer after the weight that it belongs to.
        slots = [slot for slot in model.optimizer.inner_optimizer.variables if variable.path.replace("/", "_") in slot.path]
        if not slots:
            raise UserError("The fault `slot_nan` needs an optimizer that keeps state for each weight. Received: one without. Use adam or adamw.")
        slot = slots[0]
        self.path = layer_of(variable.path)
        values = np.array(ops.convert_to_numpy(slot))
        values.reshape(-1)[0] = np.nan
        slot.assign(values)


class LearningRate(Fault):
    """The learning rate is a thousand times too large for some steps.

    Args:
        step, steps: as in `Fault`.
        factor: of the rate.
    """

    def __init__(self, step: int = 10, steps: int = 20, factor: float = 1000.0):
        super().__init__(step, steps)
        self.factor = factor

    def before_step(self, model, step):
        rate = model.optimizer.recoverable_rate
        if rate is None:
            raise UserError("The fault `learning_rate` needs a learning rate that can be changed in mid-run. Received: an optimizer without.")
        if self.comes_in(step) and not self.comes_in(step - 1):
            rate.factor.assign(ops.convert_to_tensor(rate.factor) * self.factor)
        elif self.comes_in(step - 1) and not self.comes_in(step):
            rate.factor.assign(ops.convert_to_tensor(rate.factor) / self.factor)

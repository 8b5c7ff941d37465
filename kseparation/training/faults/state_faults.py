"""Faults of weights, optimizer state and learning rate, which come between two steps."""

import numpy as np
from keras import ops

from kseparation.errors import UserError
from kseparation.training.faults.injection import EVERY_TASK, Fault
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
    tasks = EVERY_TASK

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
    tasks = EVERY_TASK

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

    tasks = EVERY_TASK

    def __init__(self, step: int = 10, steps: int = 20, factor: float = 1000.0):
        super().__init__(step, steps)
        self.factor = factor
        self._usual, self._own = None, None  # what the factor of the rate was, and what this fault made of it

    def before_step(self, model, step):
        rate = model.optimizer.recoverable_rate
        if rate is None:
            raise UserError("The fault `learning_rate` needs a learning rate that can be changed in mid-run. Received: an optimizer without.")
        here, before = self.comes_in(step), self.comes_in(step - 1)
        if here == before:
            return
        now = float(ops.convert_to_numpy(rate.factor))
        if here and now != self._own:  # a call of `fit` that begins with this step comes here once more
            self._usual, self._own = now, float(np.float32(now * self.factor))
            rate.factor.assign(self._own)
        elif before and now == self._own:
            rate.factor.assign(self._usual)
        elif before and self._own is None and now > 1.0:  # of an earlier process, for no recovery makes it larger than 1
            rate.factor.assign(now / self.factor)
        # Else a return within these steps has set it, and it is no longer the fault's.

"""Faults of a codebook, which no loss and no gradient tells of."""

import numpy as np
from keras import ops

from kseparation.errors import UserError
from kseparation.training.faults.injection import Fault


class _CodebookFault(Fault):
    tasks = ("counts",)


class RevivalStorm(_CodebookFault):
    """Revived codes keep the count of the dead ones, so that they die again at once and as many are revived at each event as may be.

    Args:
        step, steps: as in `Fault`.
    """

    repeats = False

    def __init__(self, step: int = 10, steps: int = 10_000):
        super().__init__(step, steps)

    def change_model(self, model):
        if model.quantizer.revival.rule == "off":
            raise UserError("The fault `revival_storm` needs a codebook whose codes are revived. Received: model.revival.rule=off.")

    def before_step(self, model, step):
        if not self.comes_in(step):
            return
        quantizer = model.quantizer
        counts = np.array(ops.convert_to_numpy(quantizer.counts))
        counts[np.argsort(counts)[: -max(2, len(counts) // 10)]] = 1e-6
        quantizer.counts.assign(counts)
        quantizer.sums.assign(ops.convert_to_numpy(quantizer.codebook) * counts[:, None])
        quantizer.age.assign(np.full(len(counts), 1e6, "float32"))


class FrozenCodebook(_CodebookFault):
    """The running means of the codebook are fed with its own rows, so that they stay where they are."""

    def change_model(self, model):
        model.quantizer.ema_source = "quantized"

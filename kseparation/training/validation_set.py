"""Fixed batches for validation, which can be read again at every epoch."""

from collections.abc import Sequence

import keras
import numpy as np


class ValidationSet(keras.utils.PyDataset):
    """Gives the same (mixtures, stems) batches at each validation.

    Args:
        batches: sequence of (x, y), all of one shape; each is asked for when it is due.

    Attributes:
        failures: errors of `batches`, which a backend may hide behind its own.
    """

    def __init__(self, batches: Sequence[tuple[np.ndarray, np.ndarray]]):
        super().__init__(workers=0)
        self.batches = batches
        self.failures = []

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        try:
            return self.batches[index]
        except Exception as error:
            self.failures.append(error)
            raise

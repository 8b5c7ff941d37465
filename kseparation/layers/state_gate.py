"""State that is taken back where a step was not accepted."""

from collections.abc import Sequence

import keras
from keras import ops


def take_back_unless(accepted, variables: Sequence, old: Sequence) -> None:
    """Gives variables their old values where a step was not accepted.

    Args:
        accepted: bool scalar.
        variables: which the step may have written.
        old: copies of what they held before, one for each.
    """
    # torch runs operation by operation and may look first: to choose and write 951 tensors of moises_light_small again took 3 % of a step (`benchmarks/faults.py --part=cost`).
    if keras.backend.backend() == "torch" and bool(accepted):
        return
    for variable, value in zip(variables, old, strict=True):
        variable.assign(ops.where(accepted, ops.convert_to_tensor(variable), value))

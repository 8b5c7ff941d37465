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
    # torch runs operation by operation and may look first: to choose and write the 953 tensors of moises_light_small again takes 35 ms, of a step of 2.1 s (BUILD_NOTES.md).
    if keras.backend.backend() == "torch" and bool(accepted):
        return
    for variable, value in zip(variables, old, strict=True):
        variable.assign(ops.where(accepted, ops.convert_to_tensor(variable), value))

"""What in the state of a training is not what the training had computed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kseparation.training.state import comparable

# A variable that differs by so much of its own largest value was written to by something else, where the machine computes the same twice. Where it does not, by the inverse of it.
ALIEN = 1e-3


@dataclass(frozen=True)
class Alien:
    """The variable that differs most.

    Args:
        name: in the state that was computed, as `read_state` gives it.
        words: what differs, with numbers.
    """

    name: str
    words: str

    @property
    def kind(self) -> str:
        """`"model"` or `"optimizer"`."""
        return self.name.split("/", 2)[1]

    @property
    def path(self) -> str:
        """Of the variable."""
        return self.name.split("/", 2)[2]


def alien_variable(computed: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], exact: bool) -> Alien | None:
    """Names the variable that something else wrote to, None where two states agree as far as the machine computes the same twice.

    Args:
        computed: state that the steps before it give.
        found: state in which the training was, of the same model.
        exact: whether the machine computes the same twice, bit for bit.

    Example:

    >>> before = {"00000/model/m/dense/kernel": np.ones(3, "float32")}
    >>> alien_variable(before, before, exact=True) is None
    True
    >>> alien_variable(before, {"00000/model/m/dense/kernel": np.array([1, 7, 1], "float32")}, exact=True).words
    '`m/dense/kernel` is not what the training had computed: 1 of 3 values differ, the largest is 7 instead of 1'
    """
    worst, chosen = ALIEN if exact else 1 / ALIEN, None
    theirs = comparable(found)
    for key, (name, expected) in comparable(computed).items():
        _, values = theirs.get(key, (None, None))
        if values is None or values.shape != expected.shape or not np.issubdtype(expected.dtype, np.floating) or expected.size == 0 or is_a_record(name):
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(expected.astype("float64") - values.astype("float64")).max() / max(float(np.nanmax(np.abs(expected))), 1e-30)
        apart = apart if np.isfinite(apart) else np.inf
        if apart > worst:
            worst, chosen = apart, (name, values, expected)
    if chosen is None:
        return None
    name, values, expected = chosen
    broken = values.size - int(np.sum(np.isfinite(values)))
    if broken:
        what = f"{broken} of {values.size} values are not finite"
    else:
        what = f"{int(np.sum(values != expected))} of {values.size} values differ, the largest is {float(np.max(np.abs(values))):.4g} instead of {float(np.max(np.abs(expected))):.4g}"
    words = f"`{name.split('/', 2)[2]}` is not what the training had computed: {what}"
    return Alien(name, words)


def is_a_record(name: str) -> bool:
    """Whether a variable of the optimizer tells of the last steps, or follows from them by itself, and says nothing of the state."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(("recorded_", "gradient_norm", "norm_history", "loss_scale"))

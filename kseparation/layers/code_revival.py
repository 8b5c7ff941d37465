"""Codes that nothing is near to get a new place: when, which, and where.

All of it is made without branches and with shapes that do not depend on how many codes are dead: which rows are replaced is chosen with `where`.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from keras import ops

from kseparation.errors import did_you_mean

RULES = ("relative", "fixed", "off")
# Share of the old usage that the rule `fixed` keeps at each step.
FIXED_USAGE_DECAY = 0.9
# A prime whose square fits into int32; 3 has no common factor with the prime less 1, so that cubes modulo it are a permutation.
PRIME = 46337


@dataclass(frozen=True)
class Revival:
    """When a code is dead, and how many are revived at once.

    Attributes:
        rule: `relative`: dead is a code with less than `threshold` of the running count that it would have if all were used alike, that was not used for the patience, after the warm-up.
            `off`: none is ever revived, and a codebook that was not started from data usually ends with very few live codes. `fixed`: dead is a code whose usage, a running share
            that starts at zero, lies below a fixed threshold, from the first step on and without warm-up, patience or cap; it throws away most of a large codebook at each of the first steps, and is known to
            break trainings.
        threshold: None for 0.05 (`relative`, a share of uniform use) or `0.001 / codes` (`fixed`, a share of all vectors).
        every_n_steps: steps from one event to the next, at least 1; None for a quarter of the patience (`relative`) or 1 (`fixed`).
        cap: most codes of one event, at least 1; None for a fiftieth of the codes and at least 1 (`relative`), or all (`fixed`).
        warm_up_steps: before these and the patience are over, nothing is revived.
        patience: how long a code may go unused, as a multiple of the number of steps after which uniform use leaves no code out (`covering_steps`). Use is never uniform: 10.
        start_count: running count of a revived code, as a share of that of uniform use, above 0.
        reservoir: number of vectors kept to take new places from, a power of two; None for the next one from `max(4096, 4 * codes)` on.
    """

    rule: Literal["relative", "fixed", "off"] = "relative"
    threshold: float | None = None
    every_n_steps: int | None = None
    cap: int | None = None
    warm_up_steps: int = 20
    patience: float = 10.0
    start_count: float = 0.25
    reservoir: int | None = None

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"`revival.rule` is unknown. Received: rule={self.rule!r}. {did_you_mean(self.rule, RULES)}")
        for name, least in (("every_n_steps", 1), ("cap", 1), ("warm_up_steps", 0), ("patience", 0), ("reservoir", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`revival.{name}` must be at least {least}. Received: {name}={value}")
        if self.warm_up_steps > 2**20:
            raise ValueError(f"`revival.warm_up_steps` must be at most {2**20}: steps are counted up to {2**22}. Received: warm_up_steps={self.warm_up_steps}")
        for name in ("threshold", "start_count"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"`revival.{name}` must lie above 0 and not above 1. Received: {name}={value}")
        if self.reservoir is not None and self.reservoir & (self.reservoir - 1):
            raise ValueError(f"`revival.reservoir` must be a power of two, as 4096. Received: reservoir={self.reservoir}")

    def as_dict(self) -> dict[str, Any]:
        """The settings as a config has them."""
        return asdict(self)

    def filled_in(self, codes: int) -> "Revival":
        """Returns the record with numbers for a codebook of `codes` rows in place of None; `every_n_steps` may stay None under the rule `relative`."""
        fixed = self.rule == "fixed"
        given = asdict(self)
        given["threshold"] = self.threshold or (0.001 / codes if fixed else 0.05)
        given["every_n_steps"] = self.every_n_steps or (1 if fixed else None)
        given["cap"] = min(self.cap or (codes if fixed else max(1, codes // 50)), codes)
        given["reservoir"] = self.reservoir or 2 ** math.ceil(math.log2(max(4096, 4 * codes)))
        if given["cap"] > given["reservoir"]:
            raise ValueError(f"`revival.reservoir` must be at least the cap, {given['cap']}. Received: reservoir={self.reservoir}")
        return Revival(**given)


def covering_steps(codes: int, vectors):
    """Returns after how many steps a code that is still unused hardly ever belongs to a uniform use: the smallest `w` with `codes * exp(-w * vectors / codes) <= 0.01`.

    Args:
        codes: number of codes.
        vectors: vectors of a step, a number or a tensor.
    """
    return ops.ceil(codes * math.log(100 * codes) / ops.maximum(ops.cast(vectors, "float32"), 1.0))


def drawn(seed: int, steps, salt: int):
    """Returns a number from 0 to 46336 that looks drawn by chance, int32 scalar, the same on every backend.

    A pure function of its arguments, so that a training that is resumed draws what it would have drawn. Cubes and sums modulo a prime: no step leaves the range of int32.

    Args:
        seed: of the layer.
        steps: number of the step, float32 or int32 scalar up to 2^23.
        salt: tells the draws of one step from each other.
    """
    steps = ops.cast(steps, "int32")
    value = (steps % PRIME + seed % PRIME) % PRIME
    for constant in (salt * 7919 + 1, seed // PRIME % PRIME, steps // PRIME, 12289 + salt, 31337):
        value = (value * value % PRIME * value + constant % PRIME) % PRIME
    return value


def reservoir_with(reservoir, filled, position, vectors, counted, first_row):
    """Writes some vectors of a batch over the oldest of the reservoir, a ring: all of them, or as many as an eighth of it takes, spread over the batch.

    Args:
        reservoir: float32 `(slots, features)`.
        filled: 1 for a slot that holds a vector, 0 for others; float32 `(slots,)`.
        position: slot that is written first, float32 scalar.
        vectors: float32 `(vectors, features)`.
        counted: float32 `(vectors,)`, 0 for a vector that is left out; None for all.
        first_row: row of the batch that is taken first, int32 scalar.

    Returns:
        The new reservoir, filled slots and position.
    """
    slots = reservoir.shape[0]
    rows = ops.cast(ops.shape(vectors)[0], "int32")
    written = ops.minimum(rows, max(1, slots // 8))
    place = ops.cast(position, "int32")
    behind = (ops.arange(slots, dtype="int32") - place) % slots
    here = behind < written
    row = (first_row + ops.where(here, behind, 0) * (rows // written)) % rows
    if counted is not None:
        here = ops.logical_and(here, ops.take(counted, row) > 0)
    reservoir = ops.where(here[:, None], ops.take(vectors, row, axis=0), reservoir)
    return reservoir, ops.where(here, 1.0, filled), ops.cast((place + written) % slots, "float32")


def is_event(revival: Revival, counts, steps):
    """Returns whether codes may be revived in this step, a bool scalar; under the rule `relative` not before the warm-up is over.

    Args:
        revival: filled in.
        counts: running counts, float32 `(codes,)`.
        steps: number of this step, from 1; float32 scalar.
    """
    if revival.every_n_steps is not None:
        every = float(revival.every_n_steps)
    else:
        every = ops.maximum(ops.floor(_patience_steps(revival, counts) / 4), 1.0)
    event = ops.equal(ops.mod(steps, every), 0.0)
    return event if revival.rule == "fixed" else event & (steps > revival.warm_up_steps)


def dead_codes(revival: Revival, counts, age, usage, steps):
    """Returns which codes are dead, bool `(codes,)`.

    Args:
        revival: filled in, `relative` or `fixed`.
        counts: running counts, float32 `(codes,)`.
        age: steps since each code was used, float32 `(codes,)`; the rule `relative` asks for it.
        usage: running share of all vectors, float32 `(codes,)`; the rule `fixed` asks for it.
        steps: number of this step, from 1; float32 scalar.
    """
    if revival.rule == "fixed":
        return usage < revival.threshold
    patience = _patience_steps(revival, counts)
    rare = counts < revival.threshold * ops.mean(counts)
    return rare & (age > patience) & (steps > revival.warm_up_steps + patience)


def _patience_steps(revival, counts):
    """By the running number of vectors of a step, which a short last batch hardly moves."""
    return ops.ceil(revival.patience * covering_steps(counts.shape[0], ops.sum(counts)))


def new_places(revival: Revival, dead, counts, reservoir, filled, seed: int, steps):
    """Chooses the rarest of the dead codes and different vectors of the reservoir for them.

    Args:
        revival: filled in.
        dead: bool `(codes,)`; all False where this is no event.
        counts: running counts, float32 `(codes,)`.
        reservoir: float32 `(slots, features)`.
        filled: float32 `(slots,)`.
        seed: of the layer.
        steps: number of this step, float32 scalar.

    Returns:
        Which codes are revived, bool `(codes,)`, at most `cap`; and a row for each code, `(codes, features)`, which counts only for these.
    """
    codes, slots = counts.shape[0], reservoir.shape[0]
    # Sorting keeps the order of equal counts on every backend, which the k largest do not.
    chosen = ops.argsort(ops.where(dead, counts, math.inf))[: revival.cap]
    order = ops.arange(revival.cap, dtype="int32")
    # Odd multiples plus an offset modulo a power of two meet each slot once. Before the ring is full, the largest power of two that was written already.
    last = ops.cast(ops.max(filled * ops.arange(1, slots + 1, dtype="float32")), "int32")
    powers = ops.convert_to_tensor([2**exponent for exponent in range(slots.bit_length())], dtype="int32")
    ring = ops.max(ops.where(powers <= last, powers, 1))
    factor = 2 * drawn(seed, steps, 1) + 1
    offset = drawn(seed, steps, 2) * PRIME + drawn(seed, steps, 3)
    slot = (order * (factor % ring) % ring + offset % ring) % ring
    valid = ops.take(dead, chosen) & (order < ring) & (ops.take(filled, slot) > 0)
    rows = ops.scatter_update(ops.zeros((codes, reservoir.shape[1]), "float32"), chosen[:, None], ops.take(reservoir, slot, axis=0))
    revived = ops.scatter_update(ops.zeros((codes,), "int32"), chosen[:, None], ops.cast(valid, "int32")) > 0
    return revived, rows

"""Cells from every condition alike, to begin a codebook with."""

import logging
from collections.abc import Sequence

import numpy as np

from kseparation.errors import UserError

logger = logging.getLogger("kseparation")


def quotas(sizes: Sequence[int], samples: int) -> list[int]:
    """Shares a number of samples equally among groups; what a group is too small for goes to the others, equally again.

    Args:
        sizes: cells in each group.
        samples: to be shared, at most the sum of the sizes. Of a rest that cannot be shared equally, earlier groups get one more.

    Example:

    >>> quotas([95, 85, 20], 60), quotas([95, 85, 20], 120)
    ([20, 20, 20], [50, 50, 20])
    """
    if not 0 <= samples <= sum(sizes):
        raise ValueError(f"`samples` must lie between 0 and the sum of the sizes, {sum(sizes)}. Received: samples={samples}")
    shares = [0] * len(sizes)
    open_groups, left = list(range(len(sizes))), samples
    while open_groups:
        equal, rest = divmod(left, len(open_groups))
        full = [group for group in open_groups if sizes[group] <= equal]
        if not full:
            for position, group in enumerate(open_groups):
                shares[group] = equal + (position < rest)
            break
        for group in full:
            shares[group] = sizes[group]
            left -= sizes[group]
        open_groups = [group for group in open_groups if group not in full]
    return shares


def stratified_cells(groups: np.ndarray, names: Sequence[str], samples: int, seed: int = 0, column: str = "condition") -> np.ndarray:
    """Draws cells without replacement, of each group as many as of the others where it has so many.

    Unlike a draw from all cells it lets a small condition have codes of its own from the beginning.

    Args:
        groups: number of the group of each cell, `(cells,)`, see `CountTable.groups`.
        names: of the groups.
        samples: cells to draw.
        seed: same seed, same cells.
        column: what the groups are called in messages.

    Returns:
        Numbers of the cells, `(samples,)`, in random order. Where a group has fewer cells than its equal share, all of it is taken, the others give more, and a warning says so.

    Raises:
        UserError: there are fewer cells than samples.
    """
    sizes = np.bincount(groups, minlength=len(names)).tolist()
    if samples > len(groups):
        raise UserError(
            f"`num_samples` asks for more cells than there are. Received: {samples}, for {len(groups)} cells. Set it to {len(groups)} or less, or take fewer codes."
        )
    shares = quotas(sizes, samples)
    equal = samples // len(names)
    for name, size in zip(names, sizes):
        if size < equal:
            logger.warning(
                "`%s`: `%s` has %d cells, fewer than its quota of %d of %d samples. All of them are taken, and the other conditions give the rest; "
                "for equal shares set `num_samples` to %d or less, or join conditions.",
                column, name, size, equal, samples, min(sizes) * len(names),
            )  # fmt: skip
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed])))
    chosen = [draw.choice(np.flatnonzero(groups == group), share, replace=False) for group, share in enumerate(shares)]
    return draw.permutation(np.concatenate(chosen))

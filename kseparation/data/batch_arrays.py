"""A batch as arrays by name, for files and for those who look at one after the other.

A batch is a pair: what a model is given and what it is to find, each an array or a mapping of arrays.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def numbered(batch: Sequence[Any], names: Sequence[str], number: int) -> dict[str, np.ndarray]:
    """Returns the arrays of one of several batches by name.

    Args:
        batch: the pair.
        names: of its two parts; arrays of a mapping are called `<name>/<key>`.
        number: of the batch, at the end of each name.

    Example:

    >>> list(numbered(({"counts": 1, "sizes": 2}, 3), ("cells", "targets"), 0))
    ['cells/counts_0', 'cells/sizes_0', 'targets_0']
    """
    arrays = {}
    for name, part in zip(names, batch, strict=True):
        parts = {f"{name}/{key}": array for key, array in part.items()} if isinstance(part, Mapping) else {name: part}
        arrays |= {f"{key}_{number}": array for key, array in parts.items()}
    return arrays


def batch_of(arrays: Mapping[str, np.ndarray], names: Sequence[str], number: int) -> tuple[Any, ...] | None:
    """Returns a batch that `numbered` took apart, None where a part of it is missing."""
    own = {key.removesuffix(f"_{number}"): array for key, array in arrays.items() if key.endswith(f"_{number}")}
    parts = []
    for name in names:
        inside = {key.removeprefix(f"{name}/"): array for key, array in own.items() if key.startswith(f"{name}/")}
        if not inside and name not in own:
            return None
        parts.append(inside or own[name])
    return tuple(parts)

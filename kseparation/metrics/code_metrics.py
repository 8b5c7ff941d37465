"""How well the codes of cells agree with what is known of the cells; plain NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A code is active from this share of the cells on that it would hold if all codes were used alike.
ACTIVE_SHARE = 0.1


def contingency(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how many cells have each code and each label, `(codes that occur, labels that occur)`, in sorted order.

    Args:
        codes: of each cell, `(cells,)`.
        labels: of each cell, `(cells,)`, numbers or text.
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if codes.shape != labels.shape or codes.ndim != 1 or len(codes) == 0:
        raise ValueError(f"`codes` and `labels` need one entry for each cell, and at least one. Received: shapes {codes.shape} and {labels.shape}")
    (code_values, rows), (label_values, columns) = (np.unique(values, return_inverse=True) for values in (codes, labels))
    flat = np.bincount(rows * len(label_values) + columns, minlength=len(code_values) * len(label_values))
    return flat.reshape(len(code_values), len(label_values))


def _entropy(sizes):
    """Entropy in nats of shares that are proportional to sizes."""
    shares = sizes[sizes > 0] / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))


def perplexity(codes: np.ndarray) -> float:
    """Returns e to the entropy of the code frequencies: as many codes, used alike, would tell as much. From 1 to the number of codes.

    Example:

    >>> round(perplexity([0, 1, 2, 3, 3]), 3)
    3.789
    """
    return float(np.exp(_entropy(np.unique(np.asarray(codes), return_counts=True)[1])))


def active_share(codes: np.ndarray, number_of_codes: int) -> float:
    """Returns the share of all codes that hold at least a tenth of the cells that each would hold if all were used alike.

    Args:
        codes: of each cell, from 0 to below `number_of_codes`.
        number_of_codes: size of the codebook.
    """
    sizes = np.bincount(np.asarray(codes), minlength=number_of_codes)
    if len(sizes) > number_of_codes:
        raise ValueError(f"`number_of_codes` must be above every code. Received: {number_of_codes}, for a code {len(sizes) - 1}")
    return float(np.mean(sizes >= ACTIVE_SHARE * len(codes) / number_of_codes))


def adjusted_rand_index(codes: np.ndarray, labels: np.ndarray) -> float:
    """Returns how far pairs of cells agree on being together or apart: 1 for the same partition, 0 on average for random ones, which it can fall below.

    References: Hubert and Arabie 1985, Comparing partitions (Journal of Classification 2), eq. 5.
    """
    table = contingency(codes, labels).astype("float64")
    together, by_code, by_label, pairs = (np.sum(sizes * (sizes - 1)) / 2 for sizes in (table, table.sum(axis=1), table.sum(axis=0), table.sum()))
    expected = by_code * by_label / pairs if pairs else 0.0
    largest = (by_code + by_label) / 2
    # Both put all cells together, or each by itself: then they are the same.
    return 1.0 if largest == expected else float((together - expected) / (largest - expected))


def normalized_mutual_information(codes: np.ndarray, labels: np.ndarray) -> float:
    """Returns the information that codes and labels share, over the mean of their entropies: 0 to 1. It rises with the number of codes, unlike the adjusted Rand index.

    References: Vinh, Epps and Bailey 2010, Information theoretic measures for clusterings comparison (JMLR 11), with the arithmetic mean.
    """
    table = contingency(codes, labels)
    by_code, by_label, both = (_entropy(sizes) for sizes in (table.sum(axis=1), table.sum(axis=0), table.ravel()))
    if by_code + by_label == 0:
        return 1.0
    return float(max(0.0, 2 * (by_code + by_label - both) / (by_code + by_label)))


def purity(codes: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of cells with the commonest label of their code: 0 to 1, and 1 where each cell has a code of its own."""
    table = contingency(codes, labels)
    return float(table.max(axis=1).sum() / table.sum())


@dataclass(frozen=True)
class CodeTable:
    """Which conditions the cells of each code come from.

    Args:
        codes: that occur, sorted, `(rows,)`.
        conditions: that occur, sorted, `(columns,)`.
        cells: how many cells, `(rows, columns)`.
    """

    codes: tuple[int, ...]
    conditions: tuple[str, ...]
    cells: np.ndarray

    def mixing(self) -> np.ndarray:
        """Returns for each code the entropy of its conditions over that of all cells, `(rows,)`: 0 where it belongs to one condition, 1 where it holds all in their proportion, and rarely more.

        With a single condition all are 1.
        """
        whole = _entropy(self.cells.sum(axis=0))
        return np.array([_entropy(row) / whole if whole else 1.0 for row in self.cells])

    def rows(self) -> list[dict[str, object]]:
        """Returns a record for each code: `code`, `cells`, `mixing`, and the number of its cells under the name of each condition."""
        return [
            {"code": code, "cells": int(row.sum()), "mixing": float(mixing), **dict(zip(self.conditions, row.tolist(), strict=True))}
            for code, row, mixing in zip(self.codes, self.cells, self.mixing(), strict=True)
        ]


def code_by_condition(codes: Sequence[int] | np.ndarray, conditions: Sequence[str] | np.ndarray) -> CodeTable:
    """Returns which conditions the cells of each code come from."""
    cells = contingency(codes, conditions)
    return CodeTable(tuple(np.unique(codes).tolist()), tuple(str(name) for name in np.unique(conditions)), cells)


def code_scores(codes: np.ndarray, number_of_codes: int, labels: np.ndarray | None = None) -> dict[str, float | None]:
    """Returns `perplexity`, `active`, `ari`, `nmi` and `purity`; the last three are None without labels."""
    scores = {"perplexity": perplexity(codes), "active": active_share(codes, number_of_codes), "ari": None, "nmi": None, "purity": None}
    if labels is not None:
        scores |= {"ari": adjusted_rand_index(codes, labels), "nmi": normalized_mutual_information(codes, labels), "purity": purity(codes, labels)}
    return scores

"""Convolutions of 5 x 5 with a stride of two by definition, in NumPy: `(batch, frames, bins, channels)`, even sizes, without a bias."""

import numpy as np


def halved(features: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One sample of silence before, two behind; kernel `(5, 5, channels, filters)`."""
    frames, bins = features.shape[1] // 2, features.shape[2] // 2
    padded = np.pad(features, ((0, 0), (1, 2), (1, 2), (0, 0)))
    return sum(padded[:, i : i + 2 * frames : 2, j : j + 2 * bins : 2] @ kernel[i, j] for i in range(5) for j in range(5))


def doubled(features: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The transpose of `halved`; kernel `(5, 5, filters, channels)`."""
    batch, frames, bins, _ = features.shape
    out = np.zeros((batch, 2 * frames + 3, 2 * bins + 3, kernel.shape[2]))
    for i in range(5):
        for j in range(5):
            out[:, i : i + 2 * frames : 2, j : j + 2 * bins : 2] += features @ kernel[i, j].T
    return out[:, 1:-2, 1:-2]

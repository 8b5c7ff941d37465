"""The first codebook, found in vectors of the encoder before the training begins: NumPy, outside every compiled step."""

import warnings
from typing import Literal, NamedTuple

import numpy as np

from kseparation.errors import UserError, did_you_mean

VECTORS_PER_CODE = 40
METHODS = ("kmeans", "random")
# Vectors whose scores against all codes are in memory at a time.
BLOCK = 2048


class InitialCodebook(NamedTuple):
    """A codebook to start from.

    Attributes:
        codebook: float32 `(codes, features)`; of `kmeans` the means of the clusters, not scaled.
        sizes: how many of the vectors are nearest to each code, `(codes,)`.
    """

    codebook: np.ndarray
    sizes: np.ndarray


def initial_codebook(
    vectors: np.ndarray,
    codebook_size: int,
    method: Literal["kmeans", "random"] = "kmeans",
    num_samples: int | None = None,
    similarity: Literal["euclidean", "cosine"] = "euclidean",
    seed: int = 0,
    iterations: int = 20,
) -> InitialCodebook:
    """Finds a first codebook for `VectorQuantizer.set_codebook`.

    Args:
        vectors: what the encoder puts out, `(vectors, features)`.
        codebook_size: number of codes.
        method: `kmeans`: k-means++ and then Lloyd's iterations; `random`: different vectors drawn by chance.
        num_samples: vectors that are looked at, drawn by chance; None for 40 per code, or all where there are fewer.
        similarity: `cosine` finds unit vectors by their direction.
        seed: of all draws.
        iterations: most iterations of Lloyd, which end earlier where no vector changes its cluster.

    Warns:
        UserWarning: fewer vectors than 40 per code are there, fewer different ones than codes, or a condition falls short of its quota.

    Raises:
        UserError: there are fewer vectors than codes, or one that is not finite, or the method is unknown.

    References: Arthur and Vassilvitskii 2007, k-means++: the advantages of careful seeding; Lloyd 1982, Least squares quantization in PCM.
    """
    vectors = np.asarray(vectors, "float32")
    if method not in METHODS:
        raise UserError(f"`codebook_init.method` is unknown. Received: method={method!r}. {did_you_mean(method, METHODS)}")
    wanted = num_samples if num_samples is not None else min(VECTORS_PER_CODE * codebook_size, len(vectors))
    if min(wanted, len(vectors)) < codebook_size:
        raise UserError(f"A codebook of {codebook_size} codes needs at least as many vectors to start from. Received: {min(wanted, len(vectors))} vectors. Lower `codebook_size`, or give more.")
    if not np.isfinite(vectors).all():
        raise UserError(f"`vectors` must be finite to start a codebook from. Received: {int((~np.isfinite(vectors)).any(axis=-1).sum())} of {len(vectors)} that are not. Look at the encoder or its input.")
    if wanted < VECTORS_PER_CODE * codebook_size:
        warnings.warn(f"The first codebook of {codebook_size} codes is made of {wanted} vectors, fewer than {VECTORS_PER_CODE} for each code; rare codes will be single vectors.", stacklevel=2)
    if wanted > len(vectors):
        raise UserError(f"`num_samples` must not exceed the number of vectors, {len(vectors)}. Received: num_samples={wanted}. Lower it, or give more data.")
    sample = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), wanted, replace=False))]
    if similarity == "cosine":
        sample = sample / np.maximum(np.linalg.norm(sample, axis=-1, keepdims=True), 1e-12)
    generator = np.random.default_rng([seed, 1])
    if method == "random":
        codebook = sample[generator.choice(len(sample), codebook_size, replace=False)]
    else:
        codebook = _kmeans(sample, _seeds(sample, codebook_size, generator), iterations, similarity == "cosine")
    sizes = np.bincount(_nearest(sample, codebook)[0], minlength=codebook_size)
    return InitialCodebook(codebook.astype("float32"), sizes)


def _seeds(sample, codebook_size, generator):
    """Different rows of the sample, each drawn with a chance that grows with its squared distance from those before."""
    chosen = [int(generator.integers(len(sample)))]
    squares = np.square(sample).sum(axis=-1)
    distances = np.full(len(sample), np.inf, "float32")
    left = np.ones(len(sample), bool)
    for _ in range(codebook_size - 1):
        seed = chosen[-1]
        left[seed] = False
        distances = np.minimum(distances, np.maximum(squares + squares[seed] - 2 * (sample @ sample[seed]), 0.0))
        # Twins of a seed are at a distance of rounding, not of zero.
        weights = np.where(left & (distances > 1e-6 * (squares + squares[seed])), distances, 0.0).astype("float64")
        total = weights.sum()
        if total == 0:
            warnings.warn(f"Only {len(chosen)} of the vectors are different, fewer than the {codebook_size} codes; the others start as copies.", stacklevel=4)
            rest = generator.choice(np.flatnonzero(left), codebook_size - len(chosen), replace=False)
            return sample[[*chosen, *rest]]
        chosen.append(int(generator.choice(len(sample), p=weights / total)))
    return sample[chosen]


def _kmeans(sample, codebook, iterations, on_sphere):
    """Lloyd's iterations; a cluster that loses its last vector starts anew at the one that is farthest from its code."""
    before = None
    for _ in range(iterations):
        nearest, distances = _nearest(sample, codebook)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        sums = np.zeros(codebook.shape, "float64")
        np.add.at(sums, nearest, sample)
        sizes = np.bincount(nearest, minlength=len(codebook))
        means = sums / np.maximum(sizes, 1)[:, None]
        if on_sphere:
            lengths = np.linalg.norm(means, axis=-1, keepdims=True)
            means = np.where(lengths > 1e-12, means / np.maximum(lengths, 1e-12), codebook)
        empty = np.flatnonzero(sizes == 0)
        means[empty] = sample[np.argsort(-distances, kind="stable")[: len(empty)]]
        codebook = means.astype("float32")
    return codebook


def _nearest(sample, codebook):
    """Number of the nearest code of each vector, and the squared distance."""
    half_squares = 0.5 * np.square(codebook).sum(axis=-1)
    nearest, distances = np.empty(len(sample), int), np.empty(len(sample))
    for start in range(0, len(sample), BLOCK):
        block = sample[start : start + BLOCK]
        scores = block @ codebook.T - half_squares
        nearest[start : start + BLOCK] = best = scores.argmax(axis=-1)
        distances[start : start + BLOCK] = np.square(block).sum(axis=-1) - 2 * scores[np.arange(len(block)), best]
    return nearest, distances

"""One step of a vector quantiser with running means, in float64 and written from the definition."""

import numpy as np


def nearest(vectors, codebook):
    return np.square(vectors[:, None] - codebook[None]).sum(axis=-1).argmin(axis=-1)


def smoothed(counts, epsilon):
    return (counts + epsilon) / (counts.sum() + len(counts) * epsilon) * counts.sum()


def ema_step(vectors, codebook, counts, sums, decay, epsilon):
    """Returns the codes, and codebook, counts and sums after the step; all vectors `(vectors, features)`."""
    codes = nearest(vectors, codebook)
    member = np.eye(len(codebook))[codes]
    counts = decay * counts + (1 - decay) * member.sum(axis=0)
    sums = decay * sums + (1 - decay) * member.T @ vectors
    return codes, sums / smoothed(counts, epsilon)[:, None], counts, sums

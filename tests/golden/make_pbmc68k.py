"""Writes `kseparation/data/counts/pbmc68k.npz`: the counts behind scanpy's processed table of 700 blood cells.

`pip download --no-deps scanpy==1.11.5`, then: python tests/golden/make_pbmc68k.py scanpy-1.11.5-py3-none-any.whl
"""

import io
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse

TARGET = Path(__file__).parents[2] / "kseparation" / "data" / "counts" / "pbmc68k.npz"
TABLE = "scanpy/datasets/10x_pbmc68k_reduced.h5ad"


def recovered(file: h5py.File) -> dict[str, np.ndarray]:
    """Undoes `log1p(counts / n_counts x 10000)` and rounds; stops where a value is further from a whole number than float32 explains."""
    raw, obs = file["raw.X"], file["obs"]
    normalised = scipy.sparse.csr_array((raw["data"][()], raw["indices"][()], raw["indptr"][()]), shape=raw.attrs["h5sparse_shape"]).toarray().astype("float64")
    n_counts = obs["n_counts"].astype("float64")
    values = np.expm1(normalised) * n_counts[:, None] / 1e4
    counts = np.round(values)
    seen = counts > 0
    error = np.max(np.abs(values - counts)[seen] / counts[seen])
    print(f"relative error {error:.2e}, largest count {counts.max():.0f}, {seen.mean():.1%} above 0, cell sums {counts.sum(1).min():.0f} to {counts.sum(1).max():.0f}")
    assert error < 8e-4 and np.array_equal(seen, normalised > 0) and np.all(counts.sum(axis=1) <= n_counts) and np.all(n_counts == np.round(n_counts))  # noqa: S101
    arrays = {"counts": counts.astype("uint16"), "genes": file["raw.var"]["index"].astype(str), "cells": obs["index"].astype(str)}
    for column in ("bulk_labels", "phase", "louvain"):
        arrays[f"columns/{column}"] = file[f"uns/{column}_categories"][()].astype(str)[obs[column]]
    return arrays | {"columns/n_counts": n_counts.astype("int32")}


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as wheel, h5py.File(io.BytesIO(wheel.read(TABLE)), "r") as table:
        np.savez_compressed(TARGET, **recovered(table))

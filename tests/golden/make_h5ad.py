"""Writes `counts.h5ad` and `wu2020.h5ad` by anndata itself, which the tests do not need.

In an environment of its own: pip install anndata==0.12.19; pip download --no-deps scirpy==0.22.5; python tests/golden/make_h5ad.py scirpy-0.22.5-py3-none-any.whl
`wu2020.h5ad` has the 60 genes with the most counts of the 200 cells that scirpy carries for its tests.
"""

import io
import sys
import zipfile
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas
import scipy.sparse

HERE = Path(__file__).parent


def small() -> anndata.AnnData:
    counts = np.random.default_rng(0).poisson(1.5, (6, 4)) + np.eye(6, 4, dtype=int)
    obs = pandas.DataFrame(
        {
            "site": pandas.Categorical(["b", "a", None, "a", "b", "a"], categories=["b", "a", "unused"]),
            "total": counts.sum(axis=1) * 10,
            "text": ["u", "v", "w", "u", "v", "w"],
            "share": [0.5, np.nan, 1.0, 2.0, 3.0, 4.0],
            "flag": [True, False] * 3,
            "whole": pandas.array([1, None, 3, 4, 5, 6], dtype="Int64"),
        },
        index=[f"cell-{number}" for number in range(6)],
    )
    var = pandas.DataFrame(index=[f"gene-{number}" for number in range(4)])
    data = anndata.AnnData(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype("float32"), obs, var)
    data.layers["counts"] = scipy.sparse.csr_matrix(counts.astype("float32"))
    data.layers["by_genes"] = scipy.sparse.csc_matrix(counts)
    data.layers["scaled"] = counts - counts.mean(axis=0)
    data.raw = anndata.AnnData(counts.astype("int64"), obs, var)
    data.obsm["X_pca"] = np.arange(12.0).reshape(6, 2)
    data.uns["note"] = "kept"
    return data


def wu2020(wheel: str) -> anndata.AnnData:
    with zipfile.ZipFile(wheel) as archive, h5py.File(io.BytesIO(archive.read("scirpy/tests/data/wu2020_200_v0_11.h5ad")), "r") as file:
        counts = anndata.io.read_elem(file["X"]).tocsr()
        obs, var = anndata.io.read_elem(file["obs"])[["source", "patient", "sample", "cluster_orig"]], anndata.io.read_elem(file["var"])
    most = np.sort(np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")[:60])
    obs["library_size"] = np.asarray(counts.sum(axis=1)).ravel()
    return anndata.AnnData(counts[:, most].astype("int32"), obs, pandas.DataFrame(index=var.index[most]))


if __name__ == "__main__":
    small().write_h5ad(HERE / "counts.h5ad")
    wu2020(sys.argv[1]).write_h5ad(HERE / "wu2020.h5ad", compression="gzip")

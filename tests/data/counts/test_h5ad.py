import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse

from kseparation.data.counts import CountTable, read_h5ad, write_h5ad, write_obs_columns
from kseparation.errors import MachineError, UserError
from kseparation.storage import atomic

GOLDEN = Path(__file__).parents[2] / "golden"
# Written by anndata, see make_h5ad.py.
FILE = GOLDEN / "counts.h5ad"
COUNTS = np.random.default_rng(0).poisson(1.5, (6, 4)) + np.eye(6, 4, dtype=int)


@pytest.mark.parametrize("layer", ["counts", "by_genes", "raw"])
def test_layers_of_any_kind_hold_the_same_counts(layer):
    table = read_h5ad(FILE, layer)
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS)
    assert scipy.sparse.issparse(table.counts) and table.counts.dtype == np.int32
    assert table.cells.tolist() == [f"cell-{number}" for number in range(6)] and table.genes.tolist() == [f"gene-{number}" for number in range(4)]
    np.testing.assert_array_equal(table.library_sizes, COUNTS.sum(axis=1))
    assert table.columns == {}


def test_columns_of_every_kind_are_read():
    table = read_h5ad(FILE, "counts", ["site", "text", "share", "flag", "whole"], "total")
    assert table.column("site").tolist() == ["b", "a", "", "a", "b", "a"]
    assert table.column("text").tolist() == ["u", "v", "w", "u", "v", "w"]
    np.testing.assert_array_equal(table.column("share"), [0.5, np.nan, 1, 2, 3, 4])
    assert table.column("flag").tolist() == [True, False] * 3
    np.testing.assert_array_equal(table.column("whole"), [1, np.nan, 3, 4, 5, 6])
    np.testing.assert_array_equal(table.library_sizes, 10 * COUNTS.sum(axis=1))


def test_a_table_of_real_cells_is_read():
    table = read_h5ad(GOLDEN / "wu2020.h5ad", columns=["source"], size_factors="library_size")
    assert table.counts.shape == (200, 60) and np.all(table.library_sizes > np.asarray(table.counts.sum(axis=1)))
    assert dict(zip(*(part.tolist() for part in np.unique(table.column("source"), return_counts=True)))) == {"Blood": 20, "NAT": 85, "Tumor": 95}


def test_categories_as_anndata_0_7_wrote_them(tmp_path):
    path = shutil.copyfile(FILE, tmp_path / "old.h5ad")
    with h5py.File(path, "r+") as file:
        codes, categories = file["obs/site/codes"][()], file["obs/site/categories"][()]
        del file["obs/site"]
        kept = file.create_dataset("obs/__categories/site", data=categories, dtype=h5py.string_dtype())
        file["obs"].create_dataset("site", data=codes).attrs["categories"] = kept.ref
    assert read_h5ad(path, "counts", ["site"]).column("site").tolist() == ["b", "a", "", "a", "b", "a"]


def test_log_normalised_values_are_refused_and_the_counts_are_pointed_to():
    with pytest.raises(UserError) as error:
        read_h5ad(FILE)
    words = str(error.value)
    assert words.startswith(f"`{FILE}: X` holds log-normalised values instead of counts: 8.11203 in cell `cell-0` (row 0), gene `gene-0`")
    assert words.endswith("Counts are elsewhere in the file: `data.layer: by_genes` or `data.layer: counts` or `data.layer: raw`.")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "scaled"}, "layers/scaled` holds negative values: .* Counts are elsewhere"),
        ({"layer": "cuonts"}, "has no layer `cuonts`. Did you mean `counts`.*Leave `data.layer` out for X"),
        ({"layer": "counts", "columns": ["sit"]}, "has no column `sit` in obs. Did you mean `site`"),
        ({"layer": "counts", "size_factors": "totals"}, "has no column `totals` in obs. Did you mean `total`"),
        ({"layer": "counts", "size_factors": "text"}, "column `text`, taken as size factors, holds no numbers"),
    ],
)
def test_what_is_not_there_is_named(options, words):
    with pytest.raises(UserError, match=words):
        read_h5ad(FILE, **options)


def change(tmp_path, edit):
    path = shutil.copyfile(FILE, tmp_path / "changed.h5ad")
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def cut(file):
    values = file["layers/counts/data"][:-1]
    del file["layers/counts/data"]
    file["layers/counts/data"] = values


def far(file):
    file["layers/counts/indices"][0] = 99


def smaller(file):
    del file["layers/counts"]
    file["layers/counts"] = np.ones((6, 3))


def flat(file):
    del file["layers/counts"]
    file["layers/counts"] = np.ones(6)


def strange(file):
    file["layers/counts"].attrs["encoding-type"] = "awkward"


def ancient(file):
    del file["obs"]
    file["obs"] = np.zeros(6, dtype=[("index", "S3"), ("site", "i1")])


def no_genes(file):
    del file["var"]


def odd_column(file):
    file["obs/site"].move("codes", "numbers")


def two_axes(file):
    del file["obs/site"]
    file["obs/site"] = np.ones((6, 2))


def no_names(file):
    del file["obs/_index"]


def far_category(file):
    file["obs/site/codes"][0] = 9


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (no_names, "changed.h5ad` is damaged: .* Restore the file"),
        (far_category, "changed.h5ad` is damaged: .* Restore the file"),
        (cut, "layers/counts` is damaged: .*Restore the file"),
        (far, "layers/counts` is damaged: "),
        (smaller, "layers/counts` is damaged: 6 x 3 values for 6 cells and 4 genes"),
        (flat, "layers/counts` is no matrix. Received: 1 axes"),
        (strange, "is stored in a way that is not known here. Received: encoding-type=awkward"),
        (ancient, "was written by anndata before 0.7"),
        (no_genes, "is no .h5ad: it lacks `var`"),
        (odd_column, "column `site` of obs is stored in a way that is not known here"),
        (two_axes, "column `site` of obs is neither numbers nor text"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, edit, words):
    with pytest.raises(UserError, match=words):
        read_h5ad(change(tmp_path, edit), "counts", ["site"])


@pytest.mark.parametrize("content", [None, b"", b"\x89HDF\r\n\x1a\nrubbish", FILE.read_bytes()[:9000]])
def test_what_is_no_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "x.h5ad"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as .h5ad|is no .h5ad"):
        read_h5ad(path)


def everything(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(lambda name, node: found.__setitem__(name, (dict(node.attrs), node[()].tobytes() if isinstance(node, h5py.Dataset) and node.dtype.kind != "O" else None)))
    return found


def test_codes_are_added_to_a_copy_and_all_else_stays(tmp_path):
    cells = read_h5ad(FILE, "counts").cells
    target = tmp_path / "out" / "coded.h5ad"
    write_obs_columns(FILE, target, cells[::-1], {"code": np.arange(6), "of": np.array(list("abcdef"))})
    before, after = everything(FILE), everything(target)
    assert set(after) - set(before) == {"obs/code", "obs/of"}
    assert {name for name in before if name != "obs" and not np.all(before[name][1] == after[name][1])} == set()
    table = read_h5ad(target, "counts", ["code", "of", "site"])
    assert table.column("code").tolist() == [5, 4, 3, 2, 1, 0] and table.column("of").tolist() == list("fedcba")
    with h5py.File(target) as file:
        assert list(file["obs"].attrs["column-order"]) == ["site", "total", "text", "share", "flag", "whole", "code", "of"]
    write_obs_columns(target, target, cells, {"code": np.arange(6)})
    assert read_h5ad(target, "counts", ["code"]).column("code").tolist() == list(range(6))
    assert os.listdir(target.parent) == ["coded.h5ad"]


def test_cells_that_were_left_out_have_no_code(tmp_path):
    write_obs_columns(FILE, tmp_path / "x.h5ad", ["cell-4", "cell-1"], {"code": np.array([7, 9], "int32"), "type": np.array(["p", "q"]), "error": np.array([0.5, 0.25])})
    table = read_h5ad(tmp_path / "x.h5ad", "counts", ["code", "type", "error"])
    assert table.column("code").tolist() == [-1, 9, -1, -1, 7, -1] and table.column("type").tolist() == ["", "q", "", "", "p", ""]
    np.testing.assert_array_equal(table.column("error"), [np.nan, 0.25, np.nan, np.nan, 0.5, np.nan])


@pytest.mark.parametrize(("source", "cells", "words"), [(FILE, ["other"], "lacks the cell `other`"), (GOLDEN / "nowhere.h5ad", [], "is not there, or no .h5ad"), (Path(__file__), [], "is not there, or no .h5ad")])
def test_codes_of_other_cells_are_refused_and_nothing_is_left(tmp_path, source, cells, words):
    with pytest.raises(UserError, match=words):
        write_obs_columns(source, tmp_path / "x.h5ad", cells, {"code": np.zeros(len(cells), int)})
    assert os.listdir(tmp_path) == []


def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path, monkeypatch):
    target = shutil.copyfile(FILE, tmp_path / "x.h5ad")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(MachineError, match="No space left"):
        write_obs_columns(target, target, read_h5ad(FILE, "counts").cells, {"code": np.arange(6)})
    assert os.listdir(tmp_path) == ["x.h5ad"] and target.read_bytes() == FILE.read_bytes()


def test_a_table_is_written_and_read_again(tmp_path):
    counts = scipy.sparse.csr_array(COUNTS.astype("int32"))
    table = CountTable(counts, np.array(["g1", "g2", "ü", "g4"]), np.array(list("abcdef")), COUNTS.sum(axis=1) * 3.0, {"site": np.array(list("xyxyxz")), "age": np.arange(6)})
    write_h5ad(tmp_path / "t.h5ad", table, {"code": np.arange(6)[::-1]})
    again = read_h5ad(tmp_path / "t.h5ad", columns=["site", "age", "code"], size_factors="library_size")
    np.testing.assert_array_equal(again.counts.toarray(), COUNTS)
    assert again.genes.tolist() == table.genes.tolist() and again.cells.tolist() == table.cells.tolist()
    assert again.column("site").tolist() == list("xyxyxz") and again.column("code").tolist() == [5, 4, 3, 2, 1, 0] and again.column("age").tolist() == list(range(6))
    np.testing.assert_array_equal(again.library_sizes, table.library_sizes)

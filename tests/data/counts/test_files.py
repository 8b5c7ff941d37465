import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from kseparation.data.counts import CountBatches, CountTable, read_counts, write_h5ad
from kseparation.errors import UserError

COUNTS = np.array([[0, 3, 1], [2, 0, 0], [0, 0, 7], [1, 1, 1]])
CSV = ",CD3D,MS4A1,NKG7\nc1,0,3,1\nc2,2,0,0\nc3,0,0,7\nc4,1,1,1\n"
NOTES = "cell,site,age,score\nc4,s,4,0.5\nc3,t,3,1\nc1,s,1,2\nc2,s,2,3\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def gzipped(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize(
    ("make", "name", "text"),
    [
        (write, "a.csv", CSV),
        (write, "a.CSV", CSV),
        (write, "a.tsv", CSV.replace(",", "\t")),
        (gzipped, "a.csv.gz", CSV),
        (write, "with_a_mark_of_order.csv", "\ufeff" + CSV),
        (write, "as_r_writes_it.csv", CSV.removeprefix(",")),
        (write, "quoted.csv", CSV.replace("c1", '"c1"').replace("\n", "\r\n")),
        (write, "gaps.csv", CSV.replace("\nc2", "\n\nc2")),
        (write, "floats.csv", CSV.replace("0,3,1", "0,3.0,1e0")),
    ],
)
def test_a_table_in_text_is_read(tmp_path, make, name, text):
    table = read_counts(make(tmp_path / name, text))
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS)
    assert table.cells.tolist() == ["c1", "c2", "c3", "c4"] and table.library_sizes.tolist() == [4, 2, 7, 3]
    assert table.genes.tolist() == ["CD3D", "MS4A1", "NKG7"]


def test_genes_may_be_in_rows(tmp_path):
    text = "gene,c1,c2,c3,c4\nCD3D,0,2,0,1\nMS4A1,3,0,0,1\nNKG7,1,0,7,1\n"
    table = read_counts(write(tmp_path / "a.csv", text), genes_in_rows=True)
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS)
    assert table.cells.tolist() == ["c1", "c2", "c3", "c4"] and table.genes.tolist() == ["CD3D", "MS4A1", "NKG7"]


def test_columns_come_from_a_file_beside_in_any_order(tmp_path):
    table = read_counts(write(tmp_path / "a.csv", CSV), columns=["site", "age", "score"], size_factors="score", annotations=write(tmp_path / "b.csv", NOTES))
    assert table.column("site").tolist() == ["s", "s", "t", "s"] and table.library_sizes.tolist() == [2, 3, 1, 0.5]
    assert table.column("age").tolist() == [1, 2, 3, 4] and table.column("age").dtype.kind == "i"
    assert table.groups(["age"])[1] == ("1", "2", "3", "4")


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_what_scipy_saves_is_read(tmp_path, form):
    scipy.sparse.save_npz(tmp_path / "a.npz", form(COUNTS))
    table = read_counts(tmp_path / "a.npz")
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS)
    assert table.cells.tolist() == [f"cell {number}" for number in range(4)] and table.genes.tolist() == ["gene 0", "gene 1", "gene 2"]
    scipy.sparse.save_npz(tmp_path / "b.npz", form(COUNTS.T))
    np.testing.assert_array_equal(read_counts(tmp_path / "b.npz", genes_in_rows=True).counts.toarray(), COUNTS)


def test_a_dense_array_with_names_and_columns_is_read(tmp_path):
    arrays = {"counts": COUNTS.astype("uint16"), "cells": list("abcd"), "genes": list("ghi"), "columns/site": list("xyxy"), "columns/total": [5, 6, 7, 8]}
    np.savez_compressed(tmp_path / "a.npz", **{name: np.array(array) for name, array in arrays.items()})
    table = read_counts(tmp_path / "a.npz", columns=["site"], size_factors="total")
    np.testing.assert_array_equal(table.counts.toarray(), COUNTS)
    assert table.cells.tolist() == list("abcd") and table.column("site").tolist() == list("xyxy") and table.library_sizes.tolist() == [5, 6, 7, 8]


def test_empty_cells_leave_with_all_that_is_known_of_them(tmp_path):
    text = CSV + "c0,0,0,0\nc5,1,2,3\n"
    notes = write(tmp_path / "b.csv", NOTES + "c0,e,0,9\nc5,f,5,9\n")
    with pytest.raises(UserError, match=r"cell `c0` \(row 4\) is empty"):
        read_counts(write(tmp_path / "a.csv", text))
    table = read_counts(tmp_path / "a.csv", columns=["site"], annotations=notes, drop_empty=True)
    assert table.cells.tolist() == ["c1", "c2", "c3", "c4", "c5"] and table.column("site").tolist() == ["s", "s", "t", "s", "f"]


@pytest.mark.parametrize(
    ("name", "text", "options", "words"),
    [
        ("a.csv", CSV.replace("0,7", "0,-7"), {}, r"a.csv` holds negative values: -7 in cell `c3` \(row 2\), gene `NKG7`.*Where the rows are genes, set `data.genes_in_rows: true`"),
        ("a.csv", CSV.replace("0,7", "0,7.25"), {}, "holds fractional values: 7.25 in cell `c3`"),
        ("a.csv", CSV.replace("0,7", "0,nan"), {}, "holds values that are not finite: nan in cell `c3`"),
        ("a.csv", CSV.replace("0,7", "0,seven"), {}, "a.csv`, line 4, column `NKG7`: not a number. Received: 'seven'"),
        ("a.csv", CSV.replace("0,7", "0,"), {}, "line 4, column `NKG7`: not a number. Received: ''"),
        ("a.csv", CSV.replace("c3,0", "c3"), {}, "line 4: 3 fields, but the first line has 4"),
        ("a.csv", ",CD3D\n", {}, "has no line of counts"),
        ("a.csv", "", {}, "has no line of counts"),
        ("a.csv", CSV, {"columns": ["site"]}, "has no column `site`. Valid: none. It has no columns of its cells: name a CSV"),
        ("a.csv", CSV, {"layer": "counts"}, "`data.layer` belongs to an .h5ad. Received: counts"),
        ("a.csv", CSV, {"annotations": "nowhere.csv"}, "`data.annotations` must be a CSV or TSV file. Received: nowhere.csv"),
        ("a.csv.gz", CSV, {}, "cannot be read as text: Not a gzipped file"),
        ("a.txt", CSV, {}, r"is of no known kind. Received: .txt. Valid: .h5ad, .npz, .csv"),
        ("a.npz.gz", CSV, {}, "is of no known kind"),
        ("counts", CSV, {}, "is of no known kind. Received: no ending"),
        ("a.npz", CSV, {}, "a.npz` cannot be read"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, name, text, options, words):
    with pytest.raises(UserError, match=words):
        read_counts(write(tmp_path / name, text), **options)


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        (NOTES.replace("c2,", "c9,"), r"b.csv` has no line for the cell `c2`; 1 of 4 cells of .*a.csv are so"),
        (NOTES.replace("c2,s", "c2"), "b.csv`, line 5: 3 fields, but the first line has 4"),
        (NOTES.replace("site", "sites"), "b.csv` has no column `site`. Did you mean `sites`"),
    ],
)
def test_what_is_wrong_in_the_annotations_is_named(tmp_path, notes, words):
    with pytest.raises(UserError, match=words):
        read_counts(write(tmp_path / "a.csv", CSV), columns=["site"], annotations=write(tmp_path / "b.csv", notes))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"other": COUNTS}, "holds no table of counts. .* Received: other"),
        ({"counts": COUNTS, "cells": np.array(["a"])}, r"`cells` must name each of 4. Received: shape \(1,\)"),
        ({"counts": COUNTS, "columns/x": np.ones(3)}, "the column `x` must have one entry for each of 4 cells"),
        ({"data": np.ones(1), "indices": np.array([9]), "indptr": np.array([0, 1]), "shape": np.array([1, 2]), "format": np.array(b"csr")}, "is damaged: "),
        ({"data": np.ones(1), "indices": np.array([0]), "indptr": np.array([0, 1]), "shape": np.array([1, 2]), "format": np.array(b"bsr")}, "format bsr. Required: csr or csc"),
        ({"counts": np.array([[{}]], dtype=object)}, "cannot be read"),
    ],
)
def test_what_is_wrong_in_an_npz_is_named(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=words):
        read_counts(tmp_path / "a.npz")


def test_a_file_that_is_not_there(tmp_path):
    for name in ("a.csv", "a.npz"):
        with pytest.raises(UserError, match="is not there, or no file. Check `data.root`"):
            read_counts(tmp_path / name)


@pytest.mark.parametrize("ending", [".npz", ".h5ad"])
def test_a_large_table_stays_sparse_until_the_batch(tmp_path, ending):
    """Of 20,000 cells and 30,000 genes, which take 2.4 GB as a dense table of float32."""
    draw = np.random.default_rng(0)
    rows = np.concatenate([np.arange(20_000), draw.integers(0, 20_000, 200_000)])
    matrix = scipy.sparse.coo_array((np.ones(len(rows), "int32"), (rows, draw.integers(0, 30_000, len(rows)))), shape=(20_000, 30_000)).tocsr()
    path = tmp_path / f"large{ending}"
    if ending == ".npz":
        scipy.sparse.save_npz(path, matrix)
    else:
        write_h5ad(path, CountTable(matrix, np.arange(30_000).astype(str), np.arange(20_000).astype(str), np.ones(20_000)))
    tracemalloc.start()
    table = read_counts(path)
    inputs, _ = CountBatches(table, 8).batch(0, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert inputs["counts"].shape == (8, 30_000) and inputs["counts"].sum() > 8
    assert peak < 60e6


@pytest.mark.parametrize("option", [{"annotations": "x.csv"}, {"genes_in_rows": True}])
def test_what_an_h5ad_has_itself_is_not_given(option):
    with pytest.raises(UserError, match=f"`data.{next(iter(option))}` does not go with an .h5ad"):
        read_counts("a.h5ad", **option)

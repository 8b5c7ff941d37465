"""Reading tables of counts from CSV and NPZ, and from any of the known kinds of file."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse

from kseparation.data.counts.check import as_counts
from kseparation.data.counts.h5ad import read_h5ad
from kseparation.data.counts.library_size import library_sizes
from kseparation.data.counts.table import CountTable
from kseparation.errors import UserError, did_you_mean
from kseparation.storage.arrays import read_arrays

DELIMITERS = {".csv": ",", ".tsv": "\t"}
KINDS = ".h5ad, .npz, .csv, .tsv, .csv.gz, .tsv.gz"


def read_counts(
    path: str | Path,
    layer: str | None = None,
    columns: Sequence[str] = (),
    size_factors: str | None = None,
    annotations: str | Path | None = None,
    genes_in_rows: bool = False,
    drop_empty: bool = False,
) -> CountTable:
    """Reads a table of counts by the ending of its name.

    `.csv` and `.tsv`, also packed with gzip: the first line names the genes, the first field of each other line a cell. `.npz`: what `scipy.sparse.save_npz` wrote, or a
    dense array `counts`; names may be there as `genes` and `cells`, columns of the cells as `columns/<name>`.

    Args:
        path: the file.
        layer: of an `.h5ad`, see `read_h5ad`.
        columns: names of columns of the cells to read.
        size_factors: name of the column with the library sizes; None sums over the genes of the table.
        annotations: a CSV or TSV with columns of the cells, for files that have none: the first line names the columns, the first field of each line the cell.
        genes_in_rows: whether a line of the CSV, or a row of the NPZ, is a gene instead of a cell.
        drop_empty: leave cells without counts out instead of refusing them.

    Raises:
        UserError: the file is missing, damaged or of an unknown kind, lacks a layer or column, or does not hold counts.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == ".h5ad":
        if annotations is not None or genes_in_rows:
            which = "annotations" if annotations is not None else "genes_in_rows"
            raise UserError(f"`data.{which}` does not go with an .h5ad, which has its own columns and order. Received: {path}. Leave it out.")
        return read_h5ad(path, layer, columns, size_factors, drop_empty)
    if layer is not None:
        raise UserError(f"`data.layer` belongs to an .h5ad. Received: {layer}, for {path}. Leave it out.")
    if not path.is_file():
        raise UserError(f"`{path}` is not there, or no file. Check `data.root`.")
    if kind == ".npz":
        matrix, cells, genes, known = _read_npz(path, genes_in_rows)
    else:
        matrix, cells, genes = _read_text_counts(path, genes_in_rows)
        known = {}
    if annotations is not None:
        known |= _read_annotations(Path(annotations), cells, path)
    wanted = dict.fromkeys((*columns, *([size_factors] if size_factors else [])))
    for name in wanted:
        if name not in known:
            where = "" if annotations is not None or known else " It has no columns of its cells: name a CSV that does as `data.annotations`."
            raise UserError(f"`{annotations or path}` has no column `{name}`. {did_you_mean(name, known)}{where}")
    cure = "" if genes_in_rows else "Where the rows are genes, set `data.genes_in_rows: true`."
    counts, kept = as_counts(matrix, str(path), cells, genes, cure if matrix.shape[0] > matrix.shape[1] else "", drop_empty)
    sizes = library_sizes(counts, cells[kept], str(path), size_factors, known[size_factors][kept] if size_factors else None)
    return CountTable(counts, genes, cells[kept], sizes, {name: known[name][kept] for name in columns}, str(path))


def _kind(path):
    name = path.name.lower().removesuffix(".gz")
    kind = Path(name).suffix
    if kind not in (".h5ad", ".npz", *DELIMITERS) or (path.name.lower().endswith(".gz") and kind not in DELIMITERS):
        raise UserError(f"`{path}` is of no known kind. Received: {''.join(path.suffixes) or 'no ending'}. Valid: {KINDS}.")
    return kind


def _read_npz(path, genes_in_rows):
    arrays = read_arrays(path)
    if {"data", "indices", "indptr", "shape"} <= set(arrays):
        kind = arrays.get("format", np.array(b"csr")).item()
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind not in ("csr", "csc"):
            raise UserError(f"`{path}` holds a sparse matrix of the format {kind}. Required: csr or csc. Write `matrix.tocsr()`.")
        maker = scipy.sparse.csr_array if kind == "csr" else scipy.sparse.csc_array
        try:
            matrix = maker((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"].tolist()))
            matrix.check_format()
        except (ValueError, TypeError) as error:
            raise UserError(f"`{path}` is damaged: {error}. Restore it from a copy.") from None
    elif "counts" in arrays and arrays["counts"].ndim == 2:
        matrix = arrays["counts"]
    else:
        raise UserError(
            f"`{path}` holds no table of counts. Required: what scipy.sparse.save_npz writes, or an array `counts` of cells x genes. Received: {', '.join(arrays) or 'nothing'}."
        )
    matrix = matrix.T if genes_in_rows else matrix
    names = []
    for key, length in (("cells", matrix.shape[0]), ("genes", matrix.shape[1])):
        name = arrays.get(key, np.array([f"{key[:-1]} {number}" for number in range(length)]))
        if name.shape != (length,):
            raise UserError(f"`{path}`: `{key}` must name each of {length}. Received: shape {name.shape}.")
        names.append(name.astype(str))
    columns = {key.removeprefix("columns/"): array for key, array in arrays.items() if key.startswith("columns/")}
    for key, column in columns.items():
        if column.shape != (matrix.shape[0],):
            raise UserError(f"`{path}`: the column `{key}` must have one entry for each of {matrix.shape[0]} cells. Received: shape {column.shape}.")
    return matrix, *names, columns


def _lines(path):
    """Fields of each line that is not empty, with its number."""
    delimiter = DELIMITERS[_kind(path)]
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            for fields in (reader := csv.reader(file, delimiter=delimiter)):
                if fields:
                    yield reader.line_num, fields
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"`{path}` cannot be read as text: {error}. Check the path and the ending of its name.") from None


def _read_text_counts(path, genes_in_rows):
    lines = _lines(path)
    _, header = next(lines, (0, []))
    names, starts, places, values = [], [0], [], []
    for number, fields in lines:
        # R writes no name above the column of names.
        across = header if len(fields) == len(header) + 1 else header[1:]
        if len(fields) != len(across) + 1:
            raise UserError(f"`{path}`, line {number}: {len(fields)} fields, but the first line has {len(header)}. Required: a name and one number for each column.")
        try:
            row = np.array(fields[1:], dtype="float64")
        except ValueError:
            column = next(index for index, field in enumerate(fields[1:]) if not _is_number(field))
            raise UserError(f"`{path}`, line {number}, column `{across[column]}`: not a number. Received: {fields[column + 1]!r}.") from None
        filled = np.flatnonzero(row)
        names.append(fields[0])
        places.append(filled)
        values.append(row[filled])
        starts.append(starts[-1] + len(filled))
    if not names:
        raise UserError(f"`{path}` has no line of counts. Required: a first line with the names of the genes, then a line for each cell.")
    matrix = scipy.sparse.csr_array((np.concatenate(values), np.concatenate(places), np.array(starts)), shape=(len(names), len(across)))
    down, across = np.array(names, dtype=str), np.array(across, dtype=str)
    return (matrix.T, across, down) if genes_in_rows else (matrix, down, across)


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True


def _read_annotations(path, cells, of):
    """Columns of the cells from a text file, put in the order of the cells: numbers where all are."""
    if not path.is_file() or _kind(path) not in DELIMITERS:
        raise UserError(f"`data.annotations` must be a CSV or TSV file. Received: {path}.")
    lines = _lines(path)
    _, header = next(lines, (0, []))
    rows = {}
    for number, fields in lines:
        if len(fields) not in (len(header), len(header) + 1):
            raise UserError(f"`{path}`, line {number}: {len(fields)} fields, but the first line has {len(header)}.")
        rows[fields[0]] = fields[1:]
    lost = [cell for cell in cells if cell not in rows]
    if lost:
        raise UserError(f"`{path}` has no line for the cell `{lost[0]}`; {len(lost)} of {len(cells)} cells of {of} are so. Required: the name of each cell in the first field.")
    width = len(next(iter(rows.values())))
    texts = np.array([rows[cell] for cell in cells], dtype=str)
    columns = {}
    for index, name in enumerate(header[-width:] if width else []):
        column = texts[:, index]
        columns[name] = _as_numbers(column)
    return columns


def _as_numbers(column):
    """Whole numbers or numbers where all are, else the text: clusters that are called 0, 1, 2 keep these names."""
    for kind in ("int64", "float64"):
        try:
            return column.astype(kind)
        except ValueError:
            pass
    return column

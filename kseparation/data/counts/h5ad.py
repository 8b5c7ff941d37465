"""Reading and writing `.h5ad`, the files of AnnData.

With h5py alone, which Keras brings along: the package `anndata` needs pandas and zarr, more than all the rest of this one. Files of anndata 0.7 and later are read;
`tests/golden/counts.h5ad` is one that it wrote.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse

from kseparation.data.counts.check import as_counts
from kseparation.data.counts.library_size import library_sizes
from kseparation.data.counts.table import CountTable
from kseparation.errors import UserError, did_you_mean
from kseparation.storage.atomic import atomic_file

TEXT = h5py.string_dtype("utf-8")
# Cells that are looked at where another layer is proposed.
LOOKED_AT = 100


def read_h5ad(
    path: str | Path, layer: str | None = None, columns: Sequence[str] = (), size_factors: str | None = None, drop_empty: bool = False
) -> CountTable:
    """Reads counts and columns of their cells.

    Args:
        path: the file.
        layer: name of the layer that holds the counts; `raw` is what was kept as `.raw`; None is X.
        columns: names of columns of `obs` to read; numbers, text or categories. A missing text is empty, a missing number NaN.
        size_factors: column of `obs` with the library sizes, such as `n_counts` or `total_counts`; None sums over the genes of the table.
        drop_empty: leave cells without counts out instead of refusing them.

    Raises:
        UserError: the file, the layer or a column is missing, damaged or of another kind, or the matrix holds no counts.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read(file, str(path), layer, tuple(columns), size_factors, drop_empty)
    except OSError as error:
        raise UserError(f"`{path}` cannot be read as .h5ad: {error}. Check the path, or restore the file.") from None
    except (KeyError, IndexError, RuntimeError) as error:  # a part that another names is not there, or HDF5 cannot unpack it
        raise UserError(f"`{path}` is damaged: {error}. Restore the file.") from None


def _read(file, path, layer, columns, size_factors, drop_empty):
    for part in ("X", "obs", "var"):
        if part not in file and not (part == "X" and layer is not None):
            raise UserError(f"`{path}` is no .h5ad: it lacks `{part}`. Found: {', '.join(file) or 'nothing'}.")
        if part != "X" and not isinstance(file[part], h5py.Group):
            raise UserError(f"`{path}` was written by anndata before 0.7. Open it and write it again with a later version.")
    node, genes, name = _matrix_of(file, path, layer)
    cells, genes = _index(file["obs"]), _index(genes)
    matrix = _read_matrix(node, name)
    if matrix.shape != (len(cells), len(genes)):
        raise UserError(f"{name} is damaged: {matrix.shape[0]} x {matrix.shape[1]} values for {len(cells)} cells and {len(genes)} genes. Restore the file.")
    read = {column: _read_column(file, path, column) for column in dict.fromkeys((*columns, *([size_factors] if size_factors else [])))}
    counts, kept = as_counts(matrix, name.strip("`"), cells, genes, _elsewhere(file, layer), drop_empty)
    cells, read = cells[kept], {key: column[kept] for key, column in read.items()}
    sizes = library_sizes(counts, cells, path, size_factors, read.get(size_factors))
    return CountTable(counts, genes, cells, sizes, {key: read[key] for key in columns}, path)


def _matrix_of(file, path, layer):
    """The matrix, the table of its genes, and its name."""
    if layer is None:
        return file["X"], file["var"], f"`{path}: X`"
    layers = file.get("layers", {})
    if layer in layers:
        return layers[layer], file["var"], f"`{path}: layers/{layer}`"
    if layer == "raw" and "raw/X" in file:
        return file["raw/X"], file["raw/var"], f"`{path}: raw/X`"
    valid = [*layers, *(["raw"] if "raw/X" in file else [])]
    raise UserError(f"`{path}` has no layer `{layer}`. {did_you_mean(layer, valid)} Leave `data.layer` out for X.")


def _elsewhere(file, layer):
    """A sentence with the other matrices that look like counts."""
    others = {name: file[f"layers/{name}"] for name in file.get("layers", {})} | ({"raw": file["raw/X"]} if "raw/X" in file else {})
    if layer is not None and "X" in file:
        others["X"] = file["X"]
    good = [name for name, node in others.items() if name != layer and _looks_like_counts(node)]
    if not good:
        return "No other layer of the file holds counts."
    choices = " or ".join("leave `data.layer` out, for X" if name == "X" else f"`data.layer: {name}`" for name in good)
    return f"Counts are elsewhere in the file: {choices}."


def _looks_like_counts(node):
    if isinstance(node, h5py.Group):
        values = node["data"][: LOOKED_AT * 100] if "data" in node else np.array([])
    else:
        values = node[:LOOKED_AT]
    return values.size > 0 and values.dtype.kind in "iuf" and bool(np.all((values >= 0) & (values == np.floor(values))))


def _read_matrix(node, name):
    if isinstance(node, h5py.Dataset):
        if node.ndim != 2:
            raise UserError(f"{name} is no matrix. Received: {node.ndim} axes. Required: cells x genes.")
        return node[()]
    kind = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))
    makers = {"csr_matrix": scipy.sparse.csr_array, "csc_matrix": scipy.sparse.csc_array, "csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array}
    if kind not in makers or not {"data", "indices", "indptr"} <= set(node):
        raise UserError(f"{name} is stored in a way that is not known here. Received: encoding-type={kind or 'none'}. Write it as a dense, csr or csc matrix.")
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    try:
        matrix = makers[kind]((node["data"][()], node["indices"][()], node["indptr"][()]), shape=tuple(int(size) for size in shape))
        matrix.check_format()
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} is damaged: {error}. Restore the file.") from None
    return matrix


def _index(frame):
    """The names of the rows of a table."""
    name = frame.attrs.get("_index", "_index")
    name = name.decode() if isinstance(name, bytes) else name
    return _text(frame[name][()])


def _text(values):
    return np.array([value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values], dtype=str)


def _read_column(file, path, name):
    frame = file["obs"]
    available = [key for key in frame if not key.startswith("__") and key != frame.attrs.get("_index", "_index")]
    if name not in available:
        raise UserError(f"`{path}` has no column `{name}` in obs. {did_you_mean(name, available)}")
    node = frame[name]
    if isinstance(node, h5py.Group):
        return _read_coded(node, path, name)
    values = node[()]
    if "categories" in node.attrs:  # anndata 0.7
        return _of_categories(values, frame[node.attrs["categories"]][()])
    if values.ndim == 1 and values.dtype.kind in "biuf":
        return values
    if values.ndim == 1 and values.dtype.kind in "OS":
        return _text(values)
    raise UserError(f"`{path}`: column `{name}` of obs is neither numbers nor text. Received: {values.dtype}, {values.ndim} axes.")


def _read_coded(node, path, name):
    """A column of categories, or one of values with a mask."""
    if {"codes", "categories"} <= set(node):
        return _of_categories(node["codes"][()], node["categories"][()])
    if {"values", "mask"} <= set(node):
        values, mask = node["values"][()], node["mask"][()].astype(bool)
        if values.dtype.kind in "OS":
            return np.where(mask, "", _text(values))
        return np.where(mask, np.nan, values.astype("float64")) if mask.any() else values
    raise UserError(f"`{path}`: column `{name}` of obs is stored in a way that is not known here. Received: encoding-type={node.attrs.get('encoding-type')}.")


def _of_categories(codes, categories):
    missing = codes < 0
    if categories.dtype.kind in "OS":
        texts = np.append(_text(categories), "")
        return texts[np.where(missing, len(categories), codes)]
    return np.where(missing, np.nan, categories[np.maximum(codes, 0)]) if missing.any() else categories[codes]


def write_obs_columns(source: str | Path, target: str | Path, cells: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    """Writes a copy of an `.h5ad` with further columns of its cells; everything else stays as it is.

    Args:
        source: the file that the cells came from.
        target: where the copy goes, atomically; may be `source` itself.
        cells: names of the cells that the columns are of, in their order. Cells of the file that are not among them, as those left out for being empty, get -1 or "".
        columns: whole numbers or text by name, each `(len(cells),)`; a column of this name is replaced.

    Raises:
        UserError: the file cannot be read or written, or its cells are others.
    """
    if not h5py.is_hdf5(source):
        raise UserError(f"`{source}` is not there, or no .h5ad. Give the file that the counts were read from.")
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
        with h5py.File(temporary, "r+") as file:
            rows = _rows_of(_index(file["obs"]), cells, source)
            for name, values in columns.items():
                _write_column(file["obs"], name, _spread(np.asarray(values), rows, len(_index(file["obs"]))))


def _rows_of(names, cells, source):
    if len(names) == len(cells) and np.array_equal(names, cells):
        return np.arange(len(names))
    places = {name: row for row, name in enumerate(names)}
    lost = next((cell for cell in cells if cell not in places), None)
    if lost is not None or len(places) < len(names):
        what = f"lacks the cell `{lost}`" if lost is not None else "names two cells alike"
        raise UserError(f"`{source}` {what}, so that columns cannot be put to their cells. Give the file that the counts were read from.")
    return np.array([places[cell] for cell in cells], dtype=int)


def _spread(values, rows, length):
    if values.dtype.kind in "iu":
        spread = np.full(length, -1, values.dtype if values.dtype.kind == "i" else "int64")
    elif values.dtype.kind == "f":
        spread = np.full(length, np.nan)
    else:
        spread = np.full(length, "", values.astype(str).dtype)
    spread[rows] = values
    return spread


def _write_column(frame, name, values):
    if name in frame:
        del frame[name]
    if values.dtype.kind == "U":
        node = frame.create_dataset(name, data=values.astype(object), dtype=TEXT)
        node.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    else:
        node = frame.create_dataset(name, data=values)
        node.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    order = [item.decode() if isinstance(item, bytes) else str(item) for item in frame.attrs.get("column-order", [])]
    frame.attrs.create("column-order", np.array([*(item for item in order if item != name), name], dtype=object), dtype=TEXT)


def write_h5ad(path: str | Path, table: CountTable, columns: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes a table as a new `.h5ad`, atomically: counts as X (csr), the columns of the table and further ones in `obs`, with the library sizes as `library_size`.

    Args:
        path: the file.
        table: what to write.
        columns: further columns, such as codes, each `(cells,)`.
    """
    with atomic_file(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrix = file.create_group("X")
        matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(table.counts.shape)})
        for part in ("data", "indices", "indptr"):
            matrix.create_dataset(part, data=getattr(table.counts, part), compression="gzip")
        for frame, names, of_frame in (
            ("obs", table.cells, {**table.columns, "library_size": table.library_sizes, **(columns or {})}),
            ("var", table.genes, {}),
        ):
            group = file.create_group(frame)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            group.attrs.create("column-order", np.array([], dtype=object), dtype=TEXT)
            _write_column(group, "_index", np.asarray(names).astype(str))
            group.attrs.create("column-order", np.array([], dtype=object), dtype=TEXT)
            for name, values in of_frame.items():
                _write_column(group, name, np.asarray(values))
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            file.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})

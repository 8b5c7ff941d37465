"""Named NumPy arrays in one file, without pickle."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kseparation.errors import UserError


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an `.npz` file in place; use it inside `atomic_file` or `atomic_folder`.

    Args:
        path: the file.
        arrays: by name, any NumPy number type or text. Names may contain slashes.

    Raises:
        UserError: an array holds objects, or numbers that NumPy does not read back.
    """
    # np.savez takes the names as keyword arguments, where `file` is its own, and would pickle objects.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            array = np.asarray(array)
            if array.dtype.kind not in "biufcUS":  # objects, and bfloat16, which NumPy reads back as bytes
                raise UserError(f"Array `{name}` must be of a plain NumPy number type. Received: dtype={array.dtype}. Convert it to float32 first.")
            with archive.open(name + ".npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Returns what `write_arrays` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        # Opened here, for NumPy leaves a file open that is no archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if any(entry.comment for entry in archive.zip.infolist()):  # which nobody wrote: it is the entries behind it, swallowed by one wrong length
                raise UserError(f"`{path}` cannot be read: its list of arrays is damaged. Restore it from a copy.")
            return {name: archive[name] for name in archive.files}
    except UserError:
        raise
    except Exception as error:  # a wrong bit can make a file ask for another compression, a password, a later version, more memory than there is, ...
        raise UserError(f"`{path}` cannot be read: {error}. Restore it from a copy.") from None

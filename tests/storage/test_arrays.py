from pathlib import Path

import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.storage.arrays import read_arrays, write_arrays


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"00001/model/dense/kernel": np.arange(6, dtype="float32").reshape(2, 3), "file": np.array(3, "int64"), "empty": np.zeros((0, 2), "bool")}
    write_arrays(tmp_path / "a.npz", arrays)
    back = read_arrays(tmp_path / "a.npz")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Array `a` must be of a plain NumPy number type. Received: dtype=object"):
        write_arrays(tmp_path / "a.npz", {"a": np.array([None])})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"a": np.zeros(100)})
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    for file in ("a.npz", "none.npz"):
        with pytest.raises(UserError, match=f"{file}` cannot be read"):
            read_arrays(tmp_path / file)


def test_no_wrong_bit_passes_or_ends_in_another_error(tmp_path: Path) -> None:
    """The bits of the headers, where a wrong one asks for a password or another compression, or hides the arrays behind it; the numbers have a checksum."""
    arrays = {"model/a": np.arange(6, dtype="float32").reshape(2, 3), "b": np.array(3, "int64")}
    file = tmp_path / "a.npz"
    write_arrays(file, arrays)
    written = file.read_bytes()
    refused = 0
    for place in range(written.index(b"PK\x01\x02"), len(written)):  # the list at the end
        for bit in range(8):
            damaged = bytearray(written)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            try:
                back = read_arrays(file)
            except UserError as error:
                assert f"`{file}` cannot be read: " in str(error) and str(error).endswith("Restore it from a copy.")
                refused += 1
                continue
            assert list(back) == list(arrays) and all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())
    assert refused > 500

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

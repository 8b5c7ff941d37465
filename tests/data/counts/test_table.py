import numpy as np
import pytest
import scipy.sparse

from kseparation.data.counts import CountTable
from kseparation.errors import UserError


def table(**columns) -> CountTable:
    counts = scipy.sparse.csr_array(np.arange(12).reshape(4, 3).astype("int32"))
    return CountTable(counts, np.array(list("ghi")), np.array(list("abcd")), np.arange(1.0, 5.0), {name: np.array(column) for name, column in columns.items()}, "x.h5ad")


def test_some_cells_are_made_dense_in_the_order_asked_for():
    dense = table().dense([2, 0, 2])
    assert dense.dtype == np.float32
    np.testing.assert_array_equal(dense, [[6, 7, 8], [0, 1, 2], [6, 7, 8]])


def test_taking_cells_takes_all_that_is_known_of_them():
    part = table(site=["p", "q", "p", "r"]).take([3, 1])
    assert scipy.sparse.issparse(part.counts) and part.cells.tolist() == ["d", "b"] and part.genes.tolist() == ["g", "h", "i"]
    assert part.library_sizes.tolist() == [4, 2] and part.column("site").tolist() == ["r", "q"] and len(part) == 2
    np.testing.assert_array_equal(part.dense([0, 1]), [[9, 10, 11], [3, 4, 5]])


def test_groups_are_numbered_in_the_order_of_their_names():
    numbers, names = table(site=["q", "p", "q", "p"]).groups(["site"])
    assert names == ("p", "q") and numbers.tolist() == [1, 0, 1, 0] and numbers.dtype == np.int32


def test_several_columns_together_make_the_groups_that_occur():
    numbers, names = table(site=["q", "p", "q", "p"], lab=[1, 1, 2, 1]).groups(["site", "lab"])
    assert names == ("p / 1", "q / 1", "q / 2") and numbers.tolist() == [1, 0, 2, 0]
    assert table().groups([])[1] == ("all",)


def test_words_of_errors():
    with pytest.raises(UserError, match="`x.h5ad` has no column `sit` of its cells. Did you mean `site`"):
        table(site=list("pqpr")).groups(["sit"])
    for values in (["p", "q", "", "p"], [1.0, 2.0, np.nan, 1.0]):
        with pytest.raises(UserError, match=r"column `site` has no value for 1 of 4 cells, the first is `c` \(row 2\). Fill them in"):
            table(site=values).groups(["site"])
    with pytest.raises(ValueError, match=r"`columns\[site\]` needs one entry for each of 4. Received: 3"):
        table(site=["p", "q", "r"])

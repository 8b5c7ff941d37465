import numpy as np
import pytest
import scipy.sparse

from kseparation.data.counts.library_size import library_sizes
from kseparation.errors import UserError

COUNTS = scipy.sparse.csr_array([[1, 2], [0, 4]])
CELLS = np.array(["a", "b"])


def test_it_is_what_was_given_or_the_sum_over_the_genes():
    assert library_sizes(COUNTS, CELLS, "x").tolist() == [3, 4]
    given = library_sizes(COUNTS, CELLS, "x", "n", np.array([30, 40]))
    assert given.tolist() == [30, 40] and given.dtype == np.float64


@pytest.mark.parametrize("wrong", [0, -1.5, np.nan, np.inf])
def test_it_must_be_above_zero(wrong):
    with pytest.raises(UserError, match=rf"the size factor of cell `b` \(row 1, column `n`\) must be above 0. Received: {wrong:g}. Choose another"):
        library_sizes(COUNTS, CELLS, "x", "n", np.array([1.0, wrong]))


def test_text_is_no_size():
    with pytest.raises(UserError, match="column `n`, taken as size factors, holds no numbers"):
        library_sizes(COUNTS, CELLS, "x", "n", np.array(["1", "2"]))

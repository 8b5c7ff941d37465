import numpy as np
import pytest
import scipy.sparse

from kseparation.data.counts.check import as_counts
from kseparation.errors import UserError

CELLS = [f"c{number}" for number in range(60)]
GENES = [f"g{number}" for number in range(40)]
draw = np.random.default_rng(0)
COUNTS = draw.negative_binomial(1.0, 0.2, (60, 40)) + np.eye(60, 40, dtype=int)
SHARES = COUNTS / COUNTS.sum(axis=1, keepdims=True)


def checked(matrix, **options):
    return as_counts(matrix, "x.csv", CELLS, GENES, **options)


def with_value(value):
    matrix = COUNTS.astype("float64")
    matrix[7, 3] = value
    return matrix


@pytest.mark.parametrize("kind", ["float32", "float64", "int8", "uint16", "int64", "bool"])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array])
def test_counts_of_any_type_and_form_come_out_alike(kind, form):
    matrix = np.minimum(COUNTS, 100).astype(kind)
    counts, kept = checked(form(matrix))
    assert isinstance(counts, scipy.sparse.csr_array) and counts.dtype == np.int32 and kept.tolist() == list(range(60))
    np.testing.assert_array_equal(counts.toarray(), matrix.astype(int))


def test_zeros_that_were_stored_are_gone_and_do_not_fill_a_cell():
    matrix = scipy.sparse.csr_array(COUNTS.astype("float32"))
    first = matrix.indptr[1]
    matrix.data[:first] = 0
    with pytest.raises(UserError, match="cell `c0`"):
        checked(matrix)
    counts, kept = checked(matrix, drop_empty=True)
    assert kept.tolist() == list(range(1, 60)) and np.all(counts.data > 0) and counts.shape == (59, 40)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (with_value(-2), r"`x.csv` holds negative values: -2 in cell `c7` \(row 7\), gene `g3`; 1 of \d+ values are so. Scaled \(z-scored\)"),
        (with_value(-2).astype(int), r"`x.csv` holds negative values: -2 in cell `c7` \(row 7\), gene `g3`; 1 of"),
        (with_value(np.nan), r"holds values that are not finite: nan in cell `c7` \(row 7\), gene `g3`"),
        (with_value(np.inf), r"holds values that are not finite: inf in cell `c7`"),
        (with_value(3e9), r"holds values above 16777216, more than any gene of a cell is read: 3e\+09 in cell `c7`"),
        (with_value(2.5), r"`x.csv` holds fractional values: 2.5 in cell `c7` \(row 7\), gene `g3`; 1 of .* round them yourself if that is meant. Required: whole numbers"),
        (COUNTS * draw.uniform(0.8, 1, COUNTS.shape), "holds fractional values"),
        (np.log1p(SHARES * 1e4), r"holds log-normalised values instead of counts: .* exp\(value\) - 1 are whole multiples"),
        (np.log1p(SHARES * 1e4).astype("float32"), "holds log-normalised values instead of counts"),
        (np.log1p(COUNTS), "holds log-normalised values instead of counts"),
        (np.log2(SHARES * 1e4 + 1), r"holds log-normalised values \(base 2\) instead of counts: .* 2\^value - 1"),
        (SHARES * 1e4, "holds normalised values instead of counts: .* its values are whole multiples"),
        ((SHARES - SHARES.mean(axis=0)) / SHARES.std(axis=0), "holds negative values"),
        (np.zeros((60, 0)), "`x.csv` is empty. Received: 60 cells, 0 genes"),
        (np.array([["a", "b"]]), None),
    ],
)  # fmt: skip
def test_what_is_no_count_is_refused_by_name(matrix, words):
    if words is None:
        with pytest.raises((UserError, ValueError, TypeError)):
            checked(matrix)
        return
    with pytest.raises(UserError, match=words) as error:
        checked(matrix, cure="Take another layer.")
    assert "\n" not in str(error.value)
    if "is empty" not in words:
        assert str(error.value).endswith("Required: whole numbers from 0 on, as they were read. Take another layer.")


def test_an_empty_cell_is_named_or_left_out():
    matrix = COUNTS.copy()
    matrix[[5, 9]] = 0
    with pytest.raises(UserError, match=r"`x.csv`: cell `c5` \(row 5\) is empty, without a single count; 2 of 60 cells are so. .* set `data.drop_empty: true`"):
        checked(matrix)
    counts, kept = checked(matrix, drop_empty=True)
    np.testing.assert_array_equal(counts.toarray(), matrix[kept])
    assert set(range(60)) - set(kept.tolist()) == {5, 9}
    with pytest.raises(UserError, match="60 of 60 cells"):
        checked(np.zeros((60, 40)), drop_empty=True)

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseparation.metrics.code_metrics import (
    active_share,
    adjusted_rand_index,
    code_by_condition,
    code_scores,
    contingency,
    normalized_mutual_information,
    perplexity,
    purity,
)

PARTITIONS = st.integers(2, 30).flatmap(lambda cells: st.tuples(*(st.lists(st.integers(0, 5), min_size=cells, max_size=cells) for _ in range(2))))


def test_contingency_counts_cells():
    np.testing.assert_array_equal(contingency([4, 4, 9, 9, 9], list("babba")), [[1, 1], [1, 2]])


# The values are those of scikit-learn 1.9, adjusted_rand_score and normalized_mutual_info_score.
@pytest.mark.parametrize(
    ("codes", "labels", "ari", "nmi", "pure"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0, 1.0, 1.0),
        ([0, 0, 1, 2], [0, 0, 1, 1], 4 / 7, 0.8, 1.0),
        ([0, 0, 1, 1], [0, 0, 1, 2], 4 / 7, 0.8, 0.75),
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5, 0.0, 0.5),
        ([0, 0, 0, 0], [0, 1, 2, 3], 0.0, 0.0, 0.25),
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2], 0.24242424242424243, 0.5158037429793889, 2 / 3),
        ([0, 0, 0], [0, 0, 0], 1.0, 1.0, 1.0),
        ([0, 1, 2], [2, 0, 1], 1.0, 1.0, 1.0),
        ([0], [3], 1.0, 1.0, 1.0),
    ],
)
def test_known_values(codes, labels, ari, nmi, pure):
    assert adjusted_rand_index(codes, labels) == pytest.approx(ari, abs=1e-12)
    assert normalized_mutual_information(codes, labels) == pytest.approx(nmi, abs=1e-12)
    assert purity(codes, labels) == pytest.approx(pure)


def test_the_rand_index_is_zero_on_average_over_all_ways_to_hand_out_the_labels():
    codes, labels = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    values = [adjusted_rand_index(codes, list(order)) for order in itertools.permutations(labels)]
    assert np.mean(values) == pytest.approx(0, abs=1e-12) and max(values) > 0.2


@given(PARTITIONS)
def test_names_do_not_matter_and_the_first_two_are_symmetric(pair):
    codes, labels = map(np.array, pair)
    for score in (adjusted_rand_index, normalized_mutual_information):
        assert score(codes, labels) == pytest.approx(score(labels, codes), abs=1e-9)
        assert score(codes, codes) == pytest.approx(1)
    for score in (adjusted_rand_index, normalized_mutual_information, purity):
        assert score(7 - codes, labels.astype(str)) == pytest.approx(score(codes, labels), abs=1e-9)
    assert 0 <= normalized_mutual_information(codes, labels) <= 1 + 1e-12 and -1 <= adjusted_rand_index(codes, labels) <= 1 + 1e-12


@pytest.mark.parametrize(("codes", "expected"), [([3, 3, 3], 1), ([0, 1, 2, 3], 4), ([0, 0, 1, 1, 5, 5], 3), ([0, 0, 0, 1], np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))])
def test_perplexity_counts_codes_used_alike(codes, expected):
    assert perplexity(codes) == pytest.approx(expected)


def test_a_code_is_active_from_a_tenth_of_its_even_share_on():
    # Of 100 cells and 10 codes an even share is 10: 1 cell is enough, none is not.
    codes = np.repeat([0, 1, 2], [90, 9, 1])
    assert active_share(codes, 10) == pytest.approx(0.3) and active_share(codes, 4) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="`number_of_codes` must be above every code. Received: 2, for a code 2"):
        active_share(codes, 2)


def test_codes_by_condition():
    table = code_by_condition([7, 7, 7, 7, 2, 2, 5], ["a", "b", "a", "b", "a", "a", "b"])
    assert table.codes == (2, 5, 7) and table.conditions == ("a", "b")
    np.testing.assert_array_equal(table.cells, [[2, 0], [0, 1], [2, 2]])
    whole = -(4 / 7 * np.log(4 / 7) + 3 / 7 * np.log(3 / 7))
    np.testing.assert_allclose(table.mixing(), [0, 0, np.log(2) / whole])
    assert table.rows()[0] == {"code": 2, "cells": 2, "mixing": 0.0, "a": 2, "b": 0}
    np.testing.assert_array_equal(code_by_condition([0, 1], ["a", "a"]).mixing(), [1, 1])


def test_all_scores_under_their_names():
    assert code_scores(np.array([0, 0, 1, 2]), 4, np.array([0, 0, 1, 1])) == pytest.approx(
        {"perplexity": np.exp(1.5 * np.log(2)), "active": 0.75, "ari": 4 / 7, "nmi": 0.8, "purity": 1.0}
    )
    assert code_scores(np.array([0]), 4)["ari"] is None


@pytest.mark.parametrize("labels", [[0], [], [[0, 1]]])
def test_words_of_errors(labels):
    with pytest.raises(ValueError, match="`codes` and `labels` need one entry for each cell, and at least one. Received: shapes"):
        contingency([0, 1] if labels else [], labels)

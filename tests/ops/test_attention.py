"""Attention one sequence at a time is that of all at once."""

import numpy as np
import pytest
from keras import ops

from kseparation.ops import attention
from kseparation.ops.attention import LONG_SEQUENCE, attend, attend_one_by_one
from tests.on_backend import compute, gradient_of


def parts(positions, scale=1.0):
    rng = np.random.default_rng(0)
    return [scale * rng.standard_normal((2, positions, 3, 4)).astype("float32") for _ in range(3)]


def definition(query, key, value):
    scores = np.einsum("bnhd,bmhd->bhnm", query, key, dtype="float64") / 2.0
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(-1, keepdims=True), value)


@pytest.mark.parametrize("function", [attend, attend_one_by_one])
@pytest.mark.parametrize("positions", [1, 7, LONG_SEQUENCE])
def test_is_the_definition(function, positions):
    query, key, value = parts(positions)
    np.testing.assert_allclose(compute(function, query, key, value), definition(query, key, value), rtol=1e-4, atol=1e-5)


def test_large_scores_do_not_overflow():
    query, key, value = parts(5, scale=100.0)
    np.testing.assert_allclose(compute(attend_one_by_one, query, key, value), definition(query, key, value), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("positions", [7, LONG_SEQUENCE + 2])
@pytest.mark.parametrize("which", range(3))
def test_gradients_are_those_of_the_plain_form(which, positions):
    arrays = parts(positions)

    def total(function):
        def of(array):
            return ops.sum(ops.square(function(*arrays[:which], array, *arrays[which + 1 :])))

        return of

    expected = gradient_of(total(ops.dot_product_attention), arrays[which])
    np.testing.assert_allclose(gradient_of(total(attend_one_by_one), arrays[which]), expected, rtol=1e-3, atol=1e-4)


def test_nothing_of_the_size_of_the_scores_is_kept_for_the_gradient(monkeypatch):
    seen, of_head = [], attention._gradients_of_head
    monkeypatch.setattr(attention, "_gradients_of_head", lambda kept: seen.extend(tuple(tensor.shape) for tensor in kept) or of_head(kept))
    gradient_of(lambda query: ops.sum(attend_one_by_one(query, query, query)), parts(20)[0])
    assert set(seen) == {(20, 4), (4, 20), (20, 1)}


def test_half_precision_comes_back_as_precise_as_it_went_in():
    query, key, value = parts(LONG_SEQUENCE)
    result = compute(lambda *parts: ops.cast(attend_one_by_one(*(ops.cast(part, "bfloat16") for part in parts)), "float32"), query, key, value)
    assert np.abs(result - definition(query, key, value)).max() < 2e-2


def test_scores_beyond_float16_are_no_matter():
    """60 products of 40 and 40 sum up to 96,000; float16 ends at 65,504."""
    query = key = np.full((1, LONG_SEQUENCE, 1, 60), 40.0, "float32")
    value = np.ones((1, LONG_SEQUENCE, 1, 60), "float32")
    result = compute(lambda *parts: ops.cast(attend(*(ops.cast(part, "float16") for part in parts)), "float32"), query, key, value)
    np.testing.assert_allclose(result, value, rtol=2e-3)

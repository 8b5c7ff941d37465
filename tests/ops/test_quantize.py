"""Vector quantisation by the definition."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.ops import quantize as vq
from tests.on_backend import compute, gradient_of, numbers
from tests.reference import quantization


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("number", [1, 5, vq.CPU_BLOCK - 1, vq.CPU_BLOCK, vq.CPU_BLOCK + 1, 3 * vq.CPU_BLOCK, 3 * vq.CPU_BLOCK + 7])
def test_the_nearest_code_is_that_of_the_smallest_distance(number):
    vectors, codebook = drawn(number, 6), drawn(37, 6, seed=1)
    codes = compute(vq.nearest_codes, vectors, codebook)
    assert codes.dtype == "int32"
    np.testing.assert_array_equal(codes, quantization.nearest(vectors.astype("float64"), codebook.astype("float64")))


def test_large_blocks_find_the_same(monkeypatch):
    """As on an accelerator, there smaller than here: shapes of blocks make no difference."""
    monkeypatch.setattr(vq, "runs_on_cpu", lambda: False)
    monkeypatch.setattr(vq, "ACCELERATOR_BLOCK", 100)
    vectors, codebook = drawn(250, 6), drawn(37, 6, seed=1)
    np.testing.assert_array_equal(compute(vq.nearest_codes, vectors, codebook), quantization.nearest(vectors, codebook))


def test_of_equal_codes_the_first_is_taken():
    codebook = np.repeat(drawn(4, 3), 3, axis=0)
    np.testing.assert_array_equal(compute(vq.nearest_codes, drawn(4, 3), codebook), [0, 3, 6, 9])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_gets_some_row_and_leaves_the_others_theirs(bad):
    vectors, codebook = drawn(vq.CPU_BLOCK + 9, 4), drawn(8, 4, seed=1)
    expected = compute(vq.nearest_codes, vectors, codebook)
    vectors[3, 1] = bad
    codes = compute(vq.nearest_codes, vectors, codebook)
    assert 0 <= codes[3] < 8
    np.testing.assert_array_equal(np.delete(codes, 3), np.delete(expected, 3))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has shapes that are not known")
def test_the_number_of_vectors_need_not_be_known():
    import tensorflow as tf

    found = tf.function(vq.nearest_codes, input_signature=[tf.TensorSpec((None, 6)), tf.TensorSpec((37, 6))])
    codebook = drawn(37, 6, seed=1)
    for number in (1, vq.CPU_BLOCK, 2 * vq.CPU_BLOCK + 3):
        vectors = drawn(number, 6)
        np.testing.assert_array_equal(found(vectors, codebook).numpy(), quantization.nearest(vectors, codebook))


@pytest.mark.parametrize("counted", [None, [1, 0, 1, 1, 0, 2]])
def test_cluster_sums_are_sums_over_the_members(counted):
    vectors, codes = drawn(6, 3), np.array([2, 0, 2, 4, 4, 2], "int32")
    weights = np.ones(6, "float32") if counted is None else np.array(counted, "float32")
    if counted is not None:
        vectors[1] = np.nan  # which does not count
    counts, sums = compute(lambda v, c, w: vq.cluster_sums(v, c, 5, None if counted is None else w), vectors, codes, weights)
    member = np.eye(5)[codes] * weights[:, None]
    np.testing.assert_allclose(counts, member.sum(axis=0))
    np.testing.assert_allclose(sums, member.T @ np.nan_to_num(vectors), rtol=1e-6, atol=1e-6)


def test_smoothing_keeps_the_total_and_a_row_of_large_count():
    counts, sums = np.array([0.0, 1.0, 99.0], "float32"), drawn(3, 4)
    rows = compute(lambda c, s: vq.codebook_of_means(c, s, 1e-3), counts, sums)
    np.testing.assert_allclose(rows, sums / quantization.smoothed(counts.astype("float64"), 1e-3)[:, None], rtol=1e-6)
    np.testing.assert_allclose(rows[2], sums[2] / 99, rtol=1e-4)
    assert np.isfinite(rows).all()


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other():
    vectors, weights = drawn(4, 3), drawn(4, 3, seed=2)
    np.testing.assert_allclose(compute(lambda v: vq.straight_through(v, ops.round(v)), vectors), np.round(vectors), atol=1e-6)
    gradient = gradient_of(lambda v: ops.sum(vq.straight_through(v, ops.round(v)) * ops.convert_to_tensor(weights)), vectors)
    np.testing.assert_allclose(gradient, weights)


def test_unit_vectors_have_length_one_and_zero_a_finite_gradient():
    vectors = drawn(4, 3)
    np.testing.assert_allclose(np.linalg.norm(compute(vq.unit_vectors, vectors), axis=-1), 1.0, rtol=1e-6)
    assert np.isfinite(gradient_of(lambda v: ops.sum(vq.unit_vectors(v)), np.zeros((2, 3), "float32"))).all()


@pytest.mark.parametrize(("counts", "expected"), [([7, 7, 7, 7], 4), ([3, 0, 0, 0], 1), ([0, 0, 0, 0], 1), ([1, 1, 2, 0], 2 * 2**0.5)])
def test_perplexity_is_the_number_of_codes_in_even_use(counts, expected):
    assert numbers(vq.perplexity(np.array(counts, "float32"))) == pytest.approx(expected, rel=1e-6)

"""Rounding each feature to a few levels."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers import FiniteScalarQuantizer
from tests.on_backend import compute, gradient_of, numbers

GOLDEN = Path(__file__).parents[1] / "golden" / "vector_quantizer.npz"


def test_outputs_and_codes_are_those_of_the_public_package():
    with np.load(GOLDEN) as arrays:
        vectors, quantized, codes = (arrays[f"scalar_{name}"] for name in ("vectors", "quantized", "codes"))
    layer = FiniteScalarQuantizer((8, 5, 5, 5))
    assert layer.codebook_size == 1000
    np.testing.assert_allclose(compute(layer, vectors), quantized, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(compute(layer.encode, vectors), codes)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 3), (7,), (4, 4, 4)])
def test_every_code_is_reached_and_comes_back(levels):
    """A vector that lies deep inside each level: its code decodes to the output, and no two are alike."""
    layer = FiniteScalarQuantizer(levels)
    grid = np.stack(np.meshgrid(*(np.arange(level) for level in levels), indexing="ij"), axis=-1).reshape(-1, len(levels))
    half = np.array([level // 2 for level in levels])
    reach = np.array([(level - 1) * 1.001 / 2 for level in levels])
    offset = np.array([0.5 * (level % 2 == 0) for level in levels])
    vectors = (np.arctanh((grid - half + offset) / reach) - np.arctanh(offset / reach)).astype("float32")
    codes = compute(layer.encode, vectors)
    assert sorted(codes) == list(range(layer.codebook_size)) == list(range(len(grid)))
    np.testing.assert_allclose(compute(layer, vectors), (grid - half) / half, atol=1e-6)
    np.testing.assert_allclose(compute(layer.decode, codes), (grid - half) / half, atol=1e-6)


def test_zero_is_a_level_and_has_the_gradient_of_the_bound():
    layer = FiniteScalarQuantizer((8, 5))
    zero = np.zeros((1, 2), "float32")
    np.testing.assert_allclose(compute(layer, zero), zero, atol=1e-6)
    shift = np.arctanh(0.5 / (7 * 1.001 / 2))
    expected = [[(1 - np.tanh(shift) ** 2) * 7 * 1.001 / 2 / 4, 4 * 1.001 / 2 / 2]]
    np.testing.assert_allclose(gradient_of(lambda v: ops.sum(layer(v)), zero), expected, rtol=1e-5)


def test_large_features_stay_on_the_outermost_levels_and_bad_ones_are_told():
    layer = FiniteScalarQuantizer((8, 5))
    output = compute(layer, np.array([[1e30, 1e30], [-1e30, -1e30], [np.nan, 0]], "float32"))
    np.testing.assert_allclose(output[:2], [[0.75, 1.0], [-1.0, -1.0]], atol=1e-6)
    assert np.isnan(output[2, 0])
    assert 0 <= int(compute(layer.encode, np.array([[np.nan, np.nan]], "float32"))[0]) < 40


def test_in_half_precision_codes_are_found_in_single():
    layer, half = FiniteScalarQuantizer((8, 5)), FiniteScalarQuantizer((8, 5), dtype="mixed_float16")
    vectors = np.random.default_rng(0).standard_normal((50, 2)).astype("float16")
    assert keras.backend.standardize_dtype(half(vectors).dtype) == "float16"
    np.testing.assert_array_equal(numbers(half.encode(vectors)), numbers(layer.encode(vectors.astype("float32"))))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), r"`levels` must be numbers of at least 2. Received: levels=\(\)"),
        ((8, 1), r"`levels` must be numbers of at least 2. Received: levels=\(8, 1\)"),
        ((2,) * 31, "which gives 2147483648. Take fewer or smaller levels."),
    ],
)
def test_wrong_levels_are_told(levels, message):
    with pytest.raises(ValueError, match=message):
        FiniteScalarQuantizer(levels)


def test_another_number_of_features_is_told():
    with pytest.raises(ValueError, match=r"one feature for each of the 2 levels. Received: input_shape=\(4, 3\). Put a dense layer in front."):
        FiniteScalarQuantizer((8, 5))(np.zeros((4, 3), "float32"))

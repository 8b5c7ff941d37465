"""The U-Net of magnitude masks: sizes, the two public geometries, what passes over the skips."""

import numpy as np
import pytest
from keras import ops

from kseparation.layers import SpectrogramUNet
from tests.on_backend import compute, numbers
from tests.reference.strided_convolution import doubled, halved

FILTERS = (16, 32, 64, 128, 256, 512)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def trainable(layer):
    return sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights)


@pytest.mark.parametrize(("variant", "channels", "count"), [("jansson", 1, 9_823_313), ("spleeter", 2, 9_822_725)])
def test_public_geometries_have_their_numbers_of_weights(variant, channels, count):
    """The public code of the second has 1,024 more: scale and shift of a normalisation whose output goes nowhere."""
    layer = SpectrogramUNet(FILTERS, channels, variant)
    layer.build((None, None, 512, channels))
    assert trainable(layer) == count


@pytest.mark.parametrize("variant", ["jansson", "spleeter"])
@pytest.mark.parametrize("bins", [8, 13, 16])
def test_any_number_of_bins_comes_back(variant, bins):
    layer = SpectrogramUNet((2, 3, 4), 2, variant)
    assert compute(layer, noise(2, 8, bins, 2)).shape == (2, 8, bins, 2)


def normalised(features, norm):
    gamma, beta, mean, variance = (numbers(value) for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
    return (features - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta


def down(features, layer):
    return halved(features, numbers(layer.kernel)) + numbers(layer.bias)


def up(features, layer):
    return doubled(features, numbers(layer.kernel)) + numbers(layer.bias)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def jansson(features, layer):
    """The network of two levels by definition."""

    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    first = leaky(normalised(down(features, layer.down[0]), layer.down_norms[0]))
    second = leaky(normalised(down(first, layer.down[1]), layer.down_norms[1]))
    coarse = np.maximum(normalised(up(second, layer.up[1]), layer.up_norms[1]), 0)
    return up(np.concatenate([first, coarse], axis=-1), layer.up[0])


def spleeter(features, layer):
    """The network of two levels by definition: raw skips, norms behind the activations on the way up, a dilated 4 x 4 convolution at the end."""
    first = down(features, layer.down[0])
    second = down(elu(normalised(first, layer.down_norms[0])), layer.down[1])
    coarse = normalised(elu(up(second, layer.up[1])), layer.up_norms[1])
    fine = normalised(elu(up(np.concatenate([first, coarse], axis=-1), layer.up[0])), layer.up_norms[0])
    kernel = numbers(layer.last.kernel)
    padded = np.pad(fine, ((0, 0), (3, 3), (3, 3), (0, 0)))
    frames, bins = fine.shape[1:3]
    return sum(padded[:, 2 * i : 2 * i + frames, 2 * j : 2 * j + bins] @ kernel[i, j] for i in range(4) for j in range(4)) + numbers(layer.last.bias)


@pytest.mark.parametrize("definition", [jansson, spleeter])
def test_each_network_computes_its_definition(definition):
    layer, features = SpectrogramUNet((3, 4), 2, definition.__name__), noise(2, 8, 16, 2)
    layer.build(features.shape)
    for index, weight in enumerate(layer.weights):
        values = noise(*weight.shape, seed=index) * 0.3
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path or "gamma" in weight.path else values)
    expected = 1 / (1 + np.exp(-definition(features.astype("float64"), layer)))
    assert expected.std() > 0.05
    np.testing.assert_allclose(compute(layer, features), expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "linear"])
@pytest.mark.parametrize("variant", ["jansson", "spleeter"])
def test_the_last_bias_is_all_there_is_where_the_last_kernel_is_zero(variant, activation):
    layer = SpectrogramUNet((2, 3), 2, variant, activation, output_bias=-0.4)
    layer.build((None, None, 8, 1))
    last = layer.last or layer.up[0]
    last.kernel.assign(np.zeros(last.kernel.shape))
    function = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softplus": lambda x: np.log1p(np.exp(x)), "linear": lambda x: x}[activation]
    np.testing.assert_allclose(compute(layer, noise(1, 4, 8, 1)), function(-0.4), atol=1e-6)
    layer.start_at(1.5)
    np.testing.assert_allclose(compute(lambda features: layer(features), noise(1, 4, 8, 1)), function(1.5), atol=1e-6)  # a function of its own: compiled anew


def test_dropout_is_for_training_and_the_coarsest_levels():
    layer = SpectrogramUNet((2, 2, 2, 2, 2), 1, dropout=0.5)
    assert [drop is not None for drop in layer.drops] == [False, False, True, True, True]
    assert not any(SpectrogramUNet((2, 2), 1, dropout=0.0).drops)
    features = ops.convert_to_tensor(noise(1, 32, 32, 1))
    first, second = (numbers(layer(features, training=True)) for _ in range(2))
    assert np.any(first != second)
    np.testing.assert_array_equal(numbers(layer(features)), numbers(layer(features)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"filters": ()}, r"`filters` needs a level.* Received: filters=\(\)"),
        ({"filters": (4, 0)}, "at least 1. Received: filters=.4, 0."),
        ({"outputs": 0}, "Received: .*outputs=0"),
        ({"variant": "janson"}, "`variant` is unknown. Received: variant=janson. Did you mean `jansson`"),
        ({"output_activation": "sigmoidal"}, "`output_activation` is unknown. Received: output_activation=sigmoidal. Did you mean `sigmoid`"),
        ({"dropout": 1.0}, r"`dropout` must lie in \[0, 1\). Received: dropout=1.0"),
    ],
)
def test_words_of_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        SpectrogramUNet(**arguments)


def test_what_comes_out_is_float32_under_every_policy():
    layer = SpectrogramUNet((2, 3), 1, dtype="mixed_bfloat16", output_bias=8.0)
    features = noise(1, 8, 8, 1)
    full = SpectrogramUNet((2, 3), 1)
    for one in (layer, full):
        one.build(features.shape)
    for one, other in zip(full.weights, layer.weights, strict=True):
        one.assign(numbers(other))
    half = compute(layer, features)
    assert half.dtype == np.float32
    # Half precision between 0.996 and 1 has no other number.
    expected = compute(full, features)
    assert np.any((half > 0.997) & (half < 1))
    np.testing.assert_allclose(half, expected, atol=0.003)


def test_frames_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"must be a multiple of 4, .* Received: features of shape \(1, 6, 8, 1\)"):
        SpectrogramUNet((2, 3), 1)(noise(1, 6, 8, 1))

"""The U-Net of magnitude masks: sizes, the two public geometries, what passes over the skips."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers import SpectrogramUNet
from tests.on_backend import compute, numbers

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


def by_definition(features, layer):
    """The Jansson network of two levels in NumPy, each convolution written as a sum over its kernel."""

    def normalised(x, norm):
        gamma, beta, mean, variance = (numbers(value) for value in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
        return (x - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta

    def halved(x, convolution):
        kernel, bias = numbers(convolution.kernel), numbers(convolution.bias)
        frames, bins = x.shape[1] // 2, x.shape[2] // 2
        padded = np.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))  # "same" for kernel 5, stride 2 and an even size
        out = np.zeros((len(x), frames, bins, kernel.shape[-1])) + bias
        for i in range(5):
            for j in range(5):
                out += padded[:, i : i + 2 * frames : 2, j : j + 2 * bins : 2] @ kernel[i, j]
        return out

    def doubled(x, convolution):
        kernel, bias = numbers(convolution.kernel), numbers(convolution.bias)
        frames, bins = x.shape[1], x.shape[2]
        out = np.zeros((len(x), 2 * frames + 3, 2 * bins + 3, kernel.shape[2]))
        for i in range(5):
            for j in range(5):
                out[:, i : i + 2 * frames : 2, j : j + 2 * bins : 2] += x @ kernel[i, j].T
        return out[:, 1:-2, 1:-2] + bias

    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    first = leaky(normalised(halved(features, layer.down[0]), layer.down_norms[0]))
    second = leaky(normalised(halved(first, layer.down[1]), layer.down_norms[1]))
    up = np.maximum(normalised(doubled(second, layer.up[1]), layer.up_norms[1]), 0)
    painted = doubled(np.concatenate([first, up], axis=-1), layer.up[0])
    return 1 / (1 + np.exp(-painted))


def test_the_jansson_network_computes_its_definition():
    layer, features = SpectrogramUNet((3, 4), 2), noise(2, 8, 16, 2)
    layer.build(features.shape)
    for index, weight in enumerate(layer.weights):
        values = noise(*weight.shape, seed=index) * 0.3
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path or "gamma" in weight.path else values)
    np.testing.assert_allclose(compute(layer, features), by_definition(features.astype("float64"), layer), atol=1e-5)


def test_a_spleeter_network_passes_raw_convolutions_on():
    """With the normalisations of the encoder at zero, whatever its activations were is gone: the finest skip alone still carries the input."""
    layer = SpectrogramUNet((2, 3), 1, "spleeter")
    features = noise(1, 8, 8, 1)
    layer.build(features.shape)
    for norm in layer.down_norms:
        norm.gamma.assign(np.zeros(norm.gamma.shape))
    assert np.ptp(compute(layer, features) - compute(layer, 2 * features)) > 1e-4
    other = SpectrogramUNet((2, 3), 1, "jansson")
    other.build(features.shape)
    for norm in other.down_norms:
        norm.gamma.assign(np.zeros(norm.gamma.shape))
    np.testing.assert_array_equal(compute(other, features), compute(other, 2 * features))


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "linear"])
@pytest.mark.parametrize("variant", ["jansson", "spleeter"])
def test_the_last_bias_is_all_there_is_where_the_last_kernel_is_zero(variant, activation):
    layer = SpectrogramUNet((2, 3), 2, variant, activation, output_bias=-0.4)
    layer.build((None, None, 8, 1))
    last = layer.last or layer.up[0]
    last.kernel.assign(np.zeros(last.kernel.shape))
    function = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softplus": lambda x: np.log1p(np.exp(x)), "linear": lambda x: x}[activation]
    np.testing.assert_allclose(compute(layer, noise(1, 4, 8, 1)), function(-0.4), atol=1e-6)
    layer.set_output_bias(1.5)
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


def test_it_survives_mixed_precision():
    layer = SpectrogramUNet((2, 3), 1, dtype="mixed_bfloat16")
    features = noise(1, 8, 8, 1)
    half = compute(lambda x: ops.cast(layer(x), "float32"), features) if layer(ops.convert_to_tensor(features)) is not None else None
    full = SpectrogramUNet((2, 3), 1)
    full.build(features.shape)
    for one, other in zip(full.weights, layer.weights, strict=True):
        one.assign(numbers(ops.cast(other.value, "float32")))
    np.testing.assert_allclose(half, compute(full, features), atol=0.02)
    assert keras.backend.standardize_dtype(layer(ops.convert_to_tensor(features)).dtype) == "bfloat16"

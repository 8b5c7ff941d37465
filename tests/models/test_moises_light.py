"""Moises-Light: sizes of the presets, any length in, masks, learning, and bad input."""

import re

import keras
import numpy as np
import pytest

from kseparation.losses import Objective, WaveformL1
from kseparation.models import MoisesLight
from kseparation.models.moises_light import OUTPUTS
from tests.on_backend import compute, numbers, read_in_half, weight_gradients
from tests.random_weights import randomize

# Trainable weights of the public package moises-light 0.1.5, whose counts include 32 fixed rotary frequencies for each pair of transformers.
PUBLIC_SIZES = {
    "paper_large": 5_451_056,
    "paper_small": 2_558_576,
    "fullband_large": 5_477_684,
    "fullband_small": 2_805_604,
    "fullband_large_wide": 9_704_684,
    "fullband_small_wide": 4_323_784,
}
TINY = {
    "stems": ("vocals", "rest"),
    "sample_rate": 8000,
    "segment_samples": 300,
    "window_samples": 64,
    "hop_samples": 16,
    "bins": 32,
    "bands": 2,
    "width": 4,
    "levels": 2,
    "convolutions": 1,
    "transformers": 1,
}


def tiny(**arguments):
    return MoisesLight(**{**TINY, **arguments})


def randomized(**arguments):
    model = tiny(**arguments)
    model.build((None, None, model.channels))
    return randomize(model)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def trainable_count(model):
    model.build((None, None, model.channels))
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize("preset", PUBLIC_SIZES)
def test_presets_have_the_public_sizes(preset):
    assert trainable_count(MoisesLight.from_preset(preset)) == PUBLIC_SIZES[preset]
    # Four stems differ from one by the head alone: 4 x 16 weights and 16 biases.
    assert trainable_count(MoisesLight.from_preset(preset, stems=("vocals",))) == PUBLIC_SIZES[preset] - 80


def test_the_public_test_network_has_its_size():
    model = MoisesLight(window_samples=512, hop_samples=128, bins=192, width=8, transformers=1, levels=3, convolutions=3)
    assert trainable_count(model) == 87_342


@pytest.mark.parametrize("samples", [1, 100, 4097])
@pytest.mark.parametrize(("stems", "channels", "output"), [(("vocals",), 1, "direct"), (("a", "b", "c"), 2, "mask")])
def test_any_length_comes_out_as_it_went_in(samples, stems, channels, output):
    model = randomized(stems=stems, channels=channels, output=output)
    result = compute(model, noise(2, samples, channels))
    assert result.shape == (2, len(stems), samples, channels)
    assert np.all(np.isfinite(result)) and np.any(result)


@pytest.mark.parametrize("fold_frames", [1, 3])
def test_softmax_masks_add_up_to_the_mixture(fold_frames):
    model = randomized(stems=("a", "b", "c"), bins=33, bands=3, width=6, output="softmax_mask", fold_frames=fold_frames)
    mixture = noise(2, 333, 2)
    stems = compute(model, mixture)
    assert np.std(stems, axis=1).max() > 0.01
    np.testing.assert_allclose(stems.sum(axis=1), mixture, rtol=0, atol=1e-5)


def test_the_spectrum_is_divided_by_its_sample_deviation():
    real, imag = noise(2, 1, 1, 32), noise(2, 1, 1, 32, seed=1)
    planes, mean, deviation = compute(tiny(channels=1)._normalized_planes, real, imag)
    both = np.stack([real, imag], axis=-1)[:, 0].astype("float64")
    expected = both.std(axis=(1, 2, 3), ddof=1)  # over 64 numbers: one less or not is seen
    np.testing.assert_allclose(deviation.ravel(), expected, rtol=1e-5)
    np.testing.assert_allclose(planes, (both - both.mean(axis=(1, 2, 3), keepdims=True)) / (expected[:, None, None, None] + 1e-5), rtol=0, atol=1e-5)


def test_masks_are_the_softmax_over_the_stems():
    model = randomized(stems=("a", "b", "c"), bins=24, bands=3, width=6, output="softmax_mask")
    decoded = 30 * noise(2, 5, 24, 3 * 2)
    spectrum = noise(2, 2, 5, 33, seed=1), noise(2, 2, 5, 33, seed=2)
    logits = decoded.reshape(2, 5, 24, 3, 2).transpose(0, 3, 4, 1, 2).astype("float64")
    masks = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    top = masks.mean(axis=-1, keepdims=True)  # of the 32 topmost bins, and there are only 24
    masks = np.concatenate([masks, np.repeat(top, 9, axis=-1)], axis=-1)
    for plane, whole in zip(compute(model._divide, decoded, *spectrum), spectrum, strict=True):
        np.testing.assert_allclose(plane, masks[:, :2] * whole[:, None], rtol=0, atol=1e-5)


def test_folding_stacks_neighbouring_frames_on_the_channels_of_their_band():
    model = randomized(bands=2, fold_frames=3)
    features = noise(1, 6, 5, 4)  # two bands of two channels
    folded = compute(model._fold, features)
    assert folded.shape == (1, 2, 5, 12)
    for frame in range(6):
        for band in range(2):
            first = 6 * band + 2 * (frame % 3)
            np.testing.assert_array_equal(folded[:, frame // 3, :, first : first + 2], features[:, frame, :, 2 * band : 2 * band + 2])
    np.testing.assert_array_equal(compute(model._unfold, folded), features)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_stem_that_gets_everything_is_the_mixture(dtype):
    """The spectrum, which a mask of 1 lets through, is never rounded to half precision."""
    model = randomized(stems=("a", "b"), bins=33, bands=3, width=6, output="softmax_mask", dtype=dtype)
    model.last.bias.assign(np.tile([100.0, 100.0, 0.0, 0.0], 3).astype("float32"))  # both channels of stem a, in each band
    mixture = noise(2, 333, 2)
    stems = compute(model, mixture)
    np.testing.assert_allclose(stems[:, 0], mixture, rtol=0, atol=1e-5)
    np.testing.assert_allclose(stems.sum(axis=1), mixture, rtol=0, atol=1e-5)


def test_dropout_reaches_every_transformer_with_a_seed_of_its_own():
    model = tiny(dropout=0.3, transformers=2)
    drops = [drop for one in (*model.time_transformers, *model.frequency_transformers) for drop in (one.drop, one.attention.drop)]
    assert [drop.rate for drop in drops] == [0.3] * 8
    assert None not in {drop.seed for drop in drops} and len({drop.seed for drop in drops}) == 8


def test_the_head_of_the_stems_is_read_in_single_precision():
    model = randomized(dtype="mixed_bfloat16")
    for weight in (model.stem_head, model.stem_head_bias):
        np.testing.assert_array_equal(read_in_half(weight), numbers(weight))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_half_precision_gives_nearly_the_same(output, policy):
    arguments = {"output": output, "bins": 33 if output == "softmax_mask" else 32, "bands": 1}
    exact, half = (compute(randomized(**arguments, dtype=dtype), noise(1, 500, 2)) for dtype in ("float32", policy))
    assert np.sqrt(np.mean((half - exact) ** 2) / np.mean(exact**2)) < (0.03 if policy == "mixed_bfloat16" else 0.004)


@pytest.mark.parametrize("output", ["mask", "direct"])
def test_bins_that_are_not_modelled_come_out_silent(output):
    samples = 640
    spectrum = np.abs(np.fft.rfft(compute(randomized(bins=16, output=output), noise(1, samples, 2)), axis=2))
    # 16 of 32 bins: half the band. The window leaks into two bins beyond, 2 * 640 / 64 = 20 bins of this transform.
    above = spectrum[:, :, samples // 4 + 40 :]
    assert above.max() < 0.02 * spectrum.max()


@pytest.mark.parametrize("output", OUTPUTS)
def test_learns_one_batch_by_heart(output):
    """40 steps bring the loss below 30 % of its start."""
    # The outputs differ in what follows the network, so that one of them with transformers is enough.
    softmax = output == "softmax_mask"
    model = tiny(output=output, width=8, levels=1, bins=33 if softmax else 32, bands=1, transformers=1 if softmax else 0)
    time = np.arange(500) / 8000
    low, high = (np.sin(2 * np.pi * frequency * time) for frequency in (300, 2500))
    stems = np.stack([np.stack([low, low], axis=-1), np.stack([high, -high], axis=-1)])[None].astype("float32")
    mixture = stems.sum(axis=1)
    jit = keras.backend.backend() == "jax"  # elsewhere 40 steps take less than compiling them
    optimizer = keras.optimizers.Adam(3e-3)
    model.build(mixture.shape)
    optimizer.build(model.trainable_variables)  # variables made while TensorFlow traces the step have it traced twice
    model.compile(optimizer, Objective({"wave": WaveformL1()}), jit_compile=jit)
    losses = [model.train_on_batch(mixture, stems, return_dict=True)["total"] for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.3 * losses[0]


def cancelled_by_batch_norm(path):
    """A bias directly in front of a batch normalisation of its channel: the mean takes it away again."""
    return re.search(r"(convolution|downsample_\d+|upsample_\d+)/bias$", path) and not path.endswith("last/bias")


@pytest.mark.parametrize("preset", MoisesLight.presets())
def test_every_weight_of_every_preset_has_a_gradient(preset):
    model = MoisesLight.from_preset(preset)
    stems, channels = len(model.stems), model.channels
    gradients = weight_gradients(model, noise(1, 500, channels), noise(1, stems, 500, channels, seed=1), Objective({"wave": WaveformL1()}))
    assert [path for path, gradient in gradients.items() if not np.all(np.isfinite(gradient))] == []
    assert [path for path, gradient in gradients.items() if not np.any(gradient) and not cancelled_by_batch_norm(path)] == []


@pytest.mark.parametrize("output", OUTPUTS)
def test_silence_gives_finite_audio_and_gradients(output):
    model = randomized(output=output)
    silence = np.zeros((1, 300, 2), "float32")
    assert np.all(np.isfinite(compute(model, silence)))
    gradients = weight_gradients(model, silence, np.zeros((1, 2, 300, 2), "float32"), Objective({"wave": WaveformL1()}))
    assert [path for path, gradient in gradients.items() if not np.all(np.isfinite(gradient))] == []


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_item_with_nan_does_not_touch_the_others(output):
    model = randomized(output=output)
    mixtures = noise(3, 200, 2)
    clean = compute(model, mixtures)
    mixtures[1, 50] = np.nan
    result = compute(model, mixtures)
    assert np.all(np.isnan(result[1]).any(axis=(1, 2)))
    np.testing.assert_allclose(result[[0, 2]], clean[[0, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bins": 34}, "`bins` must lie between 1 and 33, half the window and one. Received: bins=34"),
        ({"bins": 0}, "Received: bins=0"),
        ({"output": "softmax_mask", "stems": ("vocals",)}, "divides the mixture among two stems or more"),
        ({"bands": 3}, "`bands` must divide `bins` and `width`. Received: bands=3, bins=32, width=4"),
        ({"output": "masks"}, "`output` is unknown. Received: output=masks. Did you mean `mask`"),
        ({"levels": 0}, "`levels` must be at least 1. Received: levels=0"),
        ({"fold_frames": 0}, "`fold_frames` must be at least 1. Received: fold_frames=0"),
        ({"hop_samples": 64}, "`hop_samples` must lie between 1 and half of `window_samples`, .* Received: hop_samples=64, window_samples=64"),
        ({"hop_samples": 0}, "`hop_samples` must lie between 1 and half"),
        ({"transformers": -1}, "`transformers` must not be negative"),
        ({"dropout": 1.0}, "`dropout` lie in"),
    ],
)
def test_words_of_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        tiny(**arguments)


def test_a_preset_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="`preset` is unknown. Received: preset=paper_larg. Did you mean `paper_large`"):
        MoisesLight.from_preset("paper_larg")


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"The model takes 2 audio channels. Received: a mixture of shape \(None, None, 1\)"):
        tiny().build((None, None, 1))

"""The mask U-Net: any length in, what its objectives compare, where it starts, and what it refuses."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.losses import Objective, WaveformL1
from kseparation.models import MaskUNet
from kseparation.models.mask_unet import OBJECTIVES, from_domain, to_domain
from tests.on_backend import GradientRecorder, compute, numbers, read_in_half, weight_gradients
from tests.random_weights import randomize
from tests.reference.spectrogram import spectrum

TINY = {"stems": ("vocals",), "sample_rate": 8000, "channels": 1, "segment_samples": 300, "window_samples": 32, "hop_samples": 16, "filters": (3, 4), "dropout": 0.0}


def tiny(**arguments):
    model = MaskUNet(**{**TINY, **arguments})
    model.build((None, None, model.channels))
    return model


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def batch(stems=1, channels=1, samples=300, seed=0):
    """A mixture, and stems of which the first is a low tone that the mixture holds with noise."""
    generator = np.random.default_rng(seed)
    sounds = generator.uniform(-0.5, 0.5, (2, stems + 1, samples, channels))
    time = np.arange(samples)[:, None]
    sounds[:, 0] = np.sin(2 * np.pi * 0.09 * time + generator.uniform(0, 6, (2, 1, channels)))
    return sounds.sum(axis=1).astype("float32"), sounds[:, :stems].astype("float32")


def trainable_count(model):
    model.build((None, None, model.channels))
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_presets_have_the_public_sizes():
    assert trainable_count(MaskUNet.from_preset("jansson")) == 9_823_313
    # One network for each stem; without a normalisation of 1,024 weights whose output goes nowhere in the public code.
    assert trainable_count(MaskUNet.from_preset("spleeter", stems=("a", "b"))) == 2 * (9_823_749 - 1_024)
    assert trainable_count(MaskUNet.from_preset("small")) < 1_200_000


@pytest.mark.parametrize("samples", [1, 100, 4097])
@pytest.mark.parametrize("arguments", [{}, {"stems": ("a", "b"), "channels": 2, "bins": "pad"}, {"bins": "all", "variant": "spleeter"}, {"objective": "direct", "bins": 8}])
def test_any_length_comes_out_as_it_went_in(samples, arguments):
    model = randomize(tiny(**arguments))
    result = compute(model, noise(2, samples, model.channels))
    assert result.shape == (2, len(model.stems), samples, model.channels)
    assert np.all(np.isfinite(result)) and np.any(result)


@pytest.mark.parametrize("loudness", [1.0, 1e-3])
@pytest.mark.parametrize("domain", ["linear", "log"])
def test_a_mask_of_one_gives_the_mixture_back(domain, loudness):
    model = tiny(bins="pad", domain=domain, objective="ratio_mask", output_bias=30.0)
    mixture = loudness * noise(1, 300, 1)
    # The floor of the logarithm, 6e-6, is taken off each magnitude.
    np.testing.assert_allclose(compute(model, mixture)[:, 0], mixture, atol={(1.0, "linear"): 1e-4, (1.0, "log"): 1e-4, (1e-3, "linear"): 1e-7, (1e-3, "log"): 5e-5}[loudness, domain])


def test_a_mask_of_zero_is_silence():
    model = tiny(bins="pad", domain="log", objective="ratio_mask", output_bias=-90.0)
    assert np.abs(compute(model, noise(1, 300, 1))).max() < 1e-9


def test_bins_that_are_not_modelled_come_out_silent():
    model = tiny(bins=8, output_bias=30.0)
    stem = compute(model, noise(1, 640, 1))[0, 0, 40:-40, 0]
    power = np.square(np.abs(np.fft.rfft(stem * np.hanning(len(stem)))))
    # 8 of 17 bins: half the band. The window smears into a few bins beyond.
    assert power[len(power) * 3 // 4 :].mean() < 1e-3 * power[: len(power) // 2].mean()


@pytest.mark.parametrize("domain", ["linear", "log"])
def test_domains_are_inverted(domain):
    values = np.array([0.0, 1e-5, 0.01, 1.0, 50.0], "float32")
    seen = compute(lambda x: to_domain(x, domain), values)
    np.testing.assert_allclose(compute(lambda x: from_domain(x, domain), seen), values, rtol=1e-4, atol=1e-5)
    if domain == "log":
        assert abs(compute(lambda x: from_domain(x, domain), seen)[0]) < 1e-10  # silence, and not what the floor of the logarithm stands for
        assert seen[0] == 0 and np.all(np.diff(seen) >= 0) and seen.max() <= 1


def magnitudes(audio):
    """`(batch, ..., frames, the 16 lowest bins, channels)` of audio that is padded to 20 frames of hop 16, scaled as in the model."""
    signal = np.moveaxis(audio.astype("float64"), -1, -2)
    signal = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, 19 * 16 - signal.shape[-1])])
    return np.moveaxis(np.abs(spectrum(signal, 32, 16, frames=20))[..., :16], -3, -1) / np.sqrt(32)


def logarithm(values):
    return (np.clip(np.log(np.maximum(values, np.exp(-12))), None, 6) + 12) / 18


DEFINITIONS = [("magnitude", "linear", None), ("magnitude", "log", None), ("ratio_mask", "linear", None), ("ratio_mask", "log", None), ("ratio_mask", "log", "linear"), ("direct", "linear", None), ("direct", "log", None)]
UNWEIGHTED = [(*case, loss) for case in DEFINITIONS if case[0] == "ratio_mask" for loss in ("unweighted_mse", "unweighted_l1")]


@pytest.mark.parametrize(("objective", "domain", "target_domain", "loss"), [(*case, loss) for case in DEFINITIONS for loss in ("mse", "l1")] + UNWEIGHTED)
def test_objectives_are_their_definitions(objective, domain, target_domain, loss):
    """The last kernel is zero, so that each network paints the same value everywhere, known from its bias."""
    model = tiny(stems=("a", "b"), channels=2, objective=objective, domain=domain, target_domain=target_domain, loss=loss, output_bias=0.3)
    for network in model.networks:
        network.up[0].kernel.assign(np.zeros(network.up[0].kernel.shape))
    mixture, stems = batch(stems=2, channels=2)
    model.compile("sgd", None, run_eagerly=True, jit_compile=False)
    logs = model.evaluate(mixture, stems, verbose=0, return_dict=True)

    compared = target_domain or domain
    see = logarithm if compared == "log" else lambda x: x
    target, whole = see(magnitudes(stems)), see(magnitudes(mixture))[:, None]
    painted = np.log1p(np.exp(0.3)) if objective == "direct" and compared == "linear" else 1 / (1 + np.exp(-0.3))
    weight = np.ones_like(whole)
    if objective == "ratio_mask":
        target = np.clip(target / (whole + 1e-8), 0, 1)
        if not loss.startswith("unweighted"):
            weight = magnitudes(mixture)[:, None] ** 2
            weight = weight / weight.mean(axis=(2, 3, 4), keepdims=True)
    estimate = painted * whole if objective == "magnitude" else painted
    distance = np.abs(estimate - target) ** (2 if loss.endswith("mse") else 1) * weight
    for index, stem in enumerate("ab"):
        assert logs[f"{objective}/{stem}"] == pytest.approx(distance[:, index].mean() / 2, rel=1e-3)
    assert logs["total"] == pytest.approx(logs[f"{objective}/a"] + logs[f"{objective}/b"], rel=1e-5)


def test_it_trains_with_other_losses_beside_its_own():
    model = tiny()
    model.compile("sgd", Objective({"wave": WaveformL1()}, {"wave": 3.0}), run_eagerly=True, jit_compile=False)
    mixture, stems = batch()
    logs = model.evaluate(mixture, stems, verbose=0, return_dict=True)
    assert logs["total"] == pytest.approx(logs["magnitude/vocals"] + logs["wave"], rel=1e-5)
    assert logs["wave"] == pytest.approx(3 * np.abs(compute(model, mixture) - stems).mean(), rel=1e-4)


@pytest.mark.parametrize(("objective", "domain"), [("magnitude", "linear"), ("ratio_mask", "linear"), ("ratio_mask", "log"), ("direct", "linear"), ("direct", "log")])
def test_each_objective_learns_one_batch_by_heart(objective, domain):
    model = tiny(objective=objective, domain=domain, window_samples=64, hop_samples=32, filters=(12, 24), output_bias=0.0)
    mixture, stems = batch(samples=640)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, None, jit_compile=keras.backend.backend() == "jax")  # elsewhere these steps take less than compiling them
    before = model.evaluate(mixture, stems, verbose=0, return_dict=True)["sdr_segments"]
    losses = [model.train_on_batch(mixture, stems, return_dict=True)["total"] for _ in range(120)]
    assert losses[-1] < 0.25 * losses[0]
    after = compute(lambda x: model(x, training=True), mixture)
    error, power = np.square(after - stems).sum(), np.square(stems).sum()
    assert 10 * np.log10(power / error) > before + 3


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("bad", ["silence", "one sample"])
def test_silence_and_one_sample_give_finite_losses_and_gradients(objective, bad):
    samples = 300 if bad == "silence" else 1
    sound = np.zeros((1, samples, 1), "float32") if bad == "silence" else np.ones((1, samples, 1), "float32")
    for domain in ("linear", "log"):
        model = randomize(tiny(objective=objective, domain=domain))
        assert np.all(np.isfinite(compute(model, sound)))
        on_jax = keras.backend.backend() == "jax"  # where one compilation takes less than those of all operations
        model.compile(GradientRecorder(), None, run_eagerly=not on_jax, jit_compile=on_jax)
        logs = model.train_on_batch(sound, sound[:, None], return_dict=True)
        assert np.isfinite(logs["total"])
        assert all(np.all(np.isfinite(numbers(weight))) for weight in model.trainable_weights)


def test_every_weight_has_a_gradient_by_the_waveform_too():
    model = randomize(tiny(stems=("a", "b"), variant="spleeter", bins="all"))
    mixture, stems = batch(stems=2)
    gradients = weight_gradients(model, mixture, stems, WaveformL1())
    for path, gradient in gradients.items():
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient) or (path.endswith("bias") and "down_0" in path), path  # the normalisation behind takes it away again


@pytest.mark.parametrize(
    ("objective", "loss", "domain"), [("ratio_mask", "mse", "linear"), ("ratio_mask", "mse", "log"), ("ratio_mask", "unweighted_l1", "linear"), ("magnitude", "mse", "linear"), ("magnitude", "l1", "linear")]
)
def test_the_start_is_the_mean_mask_of_the_first_examples(objective, loss, domain):
    model = tiny(stems=("a", "b"), objective=objective, loss=loss, domain=domain, target_domain="linear", output_bias="from_data")
    examples = [batch(stems=2, seed=seed) for seed in range(3)]
    started = model.start_from_data(iter(examples))
    shares, weights = np.zeros(2), 0.0
    for mixture, stems in examples:
        whole = magnitudes(mixture)[:, None]
        if objective == "magnitude":  # what the mask is multiplied by
            weight = whole**2 if loss == "mse" else whole
        else:
            weight = whole**2 / (whole**2).mean(axis=(2, 3, 4), keepdims=True) if loss == "mse" else np.ones_like(whole)
        shares += (np.clip(magnitudes(stems) / (whole + 1e-8), 0, 1) * weight).sum(axis=(0, 2, 3, 4))
        weights += weight.sum()
    for stem, share, network in zip("ab", shares / weights, model.networks):
        assert started[f"mean_mask/{stem}"] == pytest.approx(share, rel=1e-3)
        assert started[f"output_bias/{stem}"] == pytest.approx(np.log(share / (1 - share)), rel=1e-2)
        np.testing.assert_allclose(numbers(network.up[0].bias), started[f"output_bias/{stem}"], rtol=1e-6)


def test_the_first_masks_are_near_the_mean_mask():
    model = tiny(filters=(16, 32), channels=2, output_bias="from_data")
    mixture, stems = batch(channels=2)
    share = model.start_from_data([(mixture, 0.3 * stems)])["mean_mask/vocals"]
    assert 0.01 < share < 0.35
    mask = compute(lambda x: model._looked_at(x)[0], mixture)
    assert mask.mean() == pytest.approx(share, rel=0.25)


def test_the_stems_of_a_spleeter_network_share_the_mixture_by_their_powers():
    model = randomize(tiny(stems=("a", "b"), bins="pad", variant="spleeter"))
    mixture = noise(1, 300, 1)
    estimate = compute(model, mixture)
    np.testing.assert_allclose(estimate.sum(axis=1), mixture, atol=1e-4)
    masks = compute(lambda x: model._looked_at(x)[0], mixture) ** 2
    masks = (masks / masks.sum(axis=1, keepdims=True)).astype("float32")
    share = compute(lambda x: model._synthesise(*(ops.convert_to_tensor(masks) * part[:, None] for part in model._analyse(x, 300)), 300), mixture)
    np.testing.assert_allclose(estimate, share, atol=1e-4)
    # In a training each network is compared by itself; one stem has nothing to share with.
    assert np.abs(compute(lambda x: model(x, training=True), mixture).sum(axis=1) - mixture).max() > 0.01
    assert np.abs(compute(randomize(tiny(variant="spleeter", bins="pad")), mixture)[:, 0] - mixture).max() > 0.01


def test_a_number_for_the_bias_is_where_it_starts():
    model = tiny(output_bias=-0.4)
    assert model.start_from_data([batch()]) == {}
    np.testing.assert_allclose(numbers(model.networks[0].up[0].bias), -0.4)


def test_a_stem_that_is_silent_in_the_examples_keeps_a_mask_that_can_open():
    model = tiny(output_bias="from_data")
    mixture, stems = batch()
    started = model.start_from_data([(mixture, 0 * stems)])
    assert started["mean_mask/vocals"] == 0 and started["output_bias/vocals"] == pytest.approx(np.log(0.01 / 0.99))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_gives_nearly_the_same(policy):
    full = randomize(tiny(bins="pad"))
    half = tiny(bins="pad", dtype=policy)
    for one, other in zip(half.weights, full.weights, strict=True):
        one.assign(numbers(other))
    mixture = noise(1, 300, 1)
    expected = compute(full, mixture)
    result = compute(half, mixture)
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() < 0.03 * np.abs(expected).max()
    assert read_in_half(half.networks[0].down[0].kernel).dtype == np.float32


def test_known_failures_are_domains_that_differ():
    assert tiny(domain="log").known_failures() == {}
    assert tiny(domain="log", target_domain="log").known_failures() == {}
    failures = tiny(objective="ratio_mask", domain="log", target_domain="linear").known_failures()
    assert list(failures) == ["target_domain"] and "sees log magnitudes and is compared with linear ones" in failures["target_domain"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hop_samples": 17}, "`hop_samples` must lie between 1 and half of `window_samples`, .* Received: hop_samples=17, window_samples=32"),
        ({"objective": "magnitud"}, "`objective` is unknown. Received: objective=magnitud. Did you mean `magnitude`"),
        ({"domain": "logs"}, "`domain` is unknown. Received: domain=logs. Did you mean `log`"),
        ({"target_domain": "linea"}, "`target_domain` is unknown. Received: target_domain=linea. Did you mean `linear`"),
        ({"loss": "mae"}, "`loss` is unknown. Received: loss=mae"),
        ({"bins": 6}, r"`bins` must be crop, pad, all, or a multiple of 4 .* up to 17. Received: bins=6, window_samples=32"),
        ({"bins": 20}, "Received: bins=20"),
        ({"bins": "512"}, "Received: bins=512"),
        ({"filters": (1,) * 6}, "`bins` must be crop"),
        ({"output_bias": "data"}, "`output_bias` must be a number or from_data. Received: output_bias=data"),
        ({"objective": "direct", "output_bias": "from_data"}, "a direct output has none"),
        ({"variant": "unet"}, "`variant` is unknown"),
        ({"loss": "unweighted_l1"}, "`loss` counts the bins of a ratio mask only. Received: loss=unweighted_l1, objective=magnitude. Take l1"),
    ],
)
def test_words_of_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        tiny(**arguments)


def test_a_preset_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="`preset` is unknown. Received: preset=janson. Did you mean `jansson`"):
        MaskUNet.from_preset("janson")


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="takes 1 audio channels"):
        MaskUNet(**TINY).build((None, None, 2))


def test_the_forward_pass_leaves_nothing_behind():
    """A tensor kept from a compiled step would be an error on JAX and a leak elsewhere."""
    model = tiny()
    mixture, stems = batch()
    model.compile("sgd", Objective({"wave": WaveformL1()}), run_eagerly=True, jit_compile=False)
    for call in (
        lambda: model.evaluate(mixture, stems, verbose=0),
        lambda: model.train_on_batch(mixture, stems),
        lambda: model.predict(mixture, verbose=0),
        lambda: model(mixture),
    ):
        call()
        assert model.handed_over() is None


def test_the_loss_outside_a_step_looks_at_the_mixture_itself():
    model = randomize(tiny())
    mixture, stems = batch()
    model.compile("sgd", None, run_eagerly=True, jit_compile=False)
    logged = model.evaluate(mixture, stems, verbose=0, return_dict=True)["magnitude/vocals"]
    assert float(compute(lambda x, y: model.objective_parts(x, y)["magnitude/vocals"], mixture, stems)) == pytest.approx(logged, rel=1e-5)

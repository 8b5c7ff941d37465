"""The vector quantiser: its step by the definition and by the public package, its state under bad batches, half precision and in files."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers import VectorQuantizer
from kseparation.models.sound_statistics import step_with_sound_statistics
from kseparation.ops.quantize import straight_through
from kseparation.training import GuardedOptimizer
from tests.on_backend import compute, gradient_of, numbers
from tests.reference import quantization

GOLDEN = Path(__file__).parents[1] / "golden" / "vector_quantizer.npz"
OFF = {"rule": "off"}
FEATURES = 4


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def built(codebook, **arguments):
    layer = VectorQuantizer(len(codebook), **{"revival": OFF, "seed": 1, **arguments})
    layer.build((None, codebook.shape[-1]))
    layer.set_codebook(codebook)
    return layer


def state_of(layer):
    return {weight.name: numbers(weight) for weight in layer.weights}


def step(layer, vectors):
    return numbers(layer(ops.convert_to_tensor(vectors), training=True))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("similarity", ["euclidean", "cosine"])
def test_three_steps_are_those_of_the_public_package(golden, similarity):
    """To 1e-6; its running counts start at 1, so at as many vectors of a step as there are codes."""
    expected = {name.removeprefix(f"{similarity}_"): value for name, value in golden.items() if name.startswith(similarity)}
    layer = built(expected["codebook"], similarity=similarity, decay=0.9, vectors_per_step=len(expected["codebook"]))
    for number, batch in enumerate(expected["batches"]):
        np.testing.assert_array_equal(numbers(layer.encode(batch)), expected[f"codes{number}"])
        found = layer.match(ops.convert_to_tensor(batch), training=True)
        np.testing.assert_allclose(numbers(found.vectors), expected[f"quantized{number}"], rtol=0, atol=1e-6)
        assert 0.25 * float(numbers(found.commitment)) == pytest.approx(float(expected[f"loss{number}"].squeeze()), abs=1e-6)
        for ours, theirs in (("codebook", "embed"), ("counts", "counts"), ("sums", "sums")):
            np.testing.assert_allclose(numbers(getattr(layer, ours)), expected[f"{theirs}{number}"], rtol=0, atol=1e-6)


def test_steps_are_those_of_the_definition():
    codebook, layer = drawn(9, FEATURES), built(drawn(9, FEATURES), decay=0.8, epsilon=1e-4, vectors_per_step=45)
    codebook, counts = codebook.astype("float64"), np.full(9, 5.0)
    sums = codebook * 5
    for number in range(4):
        vectors = drawn(3, 20, FEATURES, seed=10 + number)
        quantized = step(layer, vectors)
        before = codebook
        codes, codebook, counts, sums = quantization.ema_step(vectors.reshape(-1, FEATURES).astype("float64"), codebook, counts, sums, 0.8, 1e-4)
        np.testing.assert_allclose(quantized.reshape(-1, FEATURES), before[codes], atol=1e-5)
        for name, value in (("codebook", codebook), ("counts", counts), ("sums", sums)):
            np.testing.assert_allclose(numbers(getattr(layer, name)), value, rtol=1e-5, atol=1e-5)


def test_running_counts_start_at_the_vectors_of_the_first_batch():
    layer = built(drawn(8, FEATURES), decay=0.75)
    np.testing.assert_allclose(numbers(layer.sums), numbers(layer.codebook) * numbers(layer.counts)[:, None])
    vectors = drawn(80, FEATURES, seed=3)
    members = np.bincount(numbers(layer.encode(vectors)), minlength=8)
    step(layer, vectors)
    np.testing.assert_allclose(numbers(layer.counts), 0.75 * 10 + 0.25 * members, rtol=1e-6)
    step(layer, vectors[:40])
    assert numbers(layer.counts).sum() == pytest.approx(0.75 * 80 + 0.25 * 40, rel=1e-6)


def test_a_codebook_from_data_starts_with_counts_in_proportion_and_sums_to_match():
    layer = built(drawn(3, FEATURES), vectors_per_step=60)
    layer.set_codebook(drawn(3, FEATURES, seed=5), sizes=[1, 4, 0])
    np.testing.assert_allclose(numbers(layer.counts), [10, 40, 10], rtol=1e-6)
    np.testing.assert_allclose(numbers(layer.sums), numbers(layer.codebook) * numbers(layer.counts)[:, None], rtol=1e-6)


CENTRES = drawn(16, 16, seed=77)


def clusters(seed, number=512):
    generator = np.random.default_rng(seed)
    return (CENTRES[generator.integers(16, size=number)] + 0.05 * generator.standard_normal((number, 16))).astype("float32")


def error(layer):
    vectors = clusters(999)
    return float(np.square(numbers(layer(vectors)) - vectors).sum(axis=-1).mean())


def test_from_inputs_the_error_on_clusters_falls_four_times_and_from_quantised_vectors_the_codebook_stays():
    """Each code starts next to its cluster, at a wrong place. All are in use: one that is not is drawn to the origin by the smoothing of the counts, from either source."""
    start = CENTRES + 0.3 * drawn(16, 16, seed=4)
    residual = built(start, decay=0.9)
    with pytest.warns(UserWarning, match="learns nothing"):
        quantized = built(start, decay=0.9, ema_source="quantized")
    errors = error(residual), error(quantized)
    for number in range(60):
        for layer in (residual, quantized):
            step(layer, clusters(2 + number))
    assert np.abs(numbers(quantized.codebook) - start).max() < 1e-5
    assert error(quantized) == pytest.approx(errors[1], rel=1e-4)
    assert error(residual) < errors[0] / 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, 1e19])
@pytest.mark.parametrize("rule", ["relative", "off"])
def test_a_bad_batch_leaves_every_array_bit_for_bit_and_is_counted(bad, rule):
    layer = built(drawn(8, FEATURES), revival={"rule": rule, "reservoir": 64, "warm_up_steps": 0})
    step(layer, drawn(50, FEATURES))
    before = state_of(layer)
    vectors = drawn(50, FEATURES, seed=2)
    vectors[7, 2] = bad
    output = step(layer, vectors)
    after = state_of(layer)
    assert int(after.pop("skipped_batches")) == int(before.pop("skipped_batches")) + 1 == 1
    for name, value in before.items():
        assert value.tobytes() == after[name].tobytes(), name
    assert np.isfinite(bad) or not np.isfinite(output).all()  # nothing hides it from the loss
    step(layer, drawn(50, FEATURES, seed=3))
    assert np.any(numbers(layer.codebook) != before["codebook"]) and int(numbers(layer.skipped_batches)) == 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize(("update", "similarity"), [("ema", "euclidean"), ("ema", "cosine"), ("gradient", "euclidean")])
def test_under_every_policy_the_state_is_single_precision(policy, update, similarity):
    """Sums of 300 squared are beyond what float16 holds."""
    layers = [VectorQuantizer(4, similarity, update, seed=1, dtype=dtype, revival=OFF) for dtype in ("float32", policy)]
    vectors = (300 * drawn(40, FEATURES)).astype("float16")
    for layer in layers:
        layer.build(vectors.shape)
        output = layer(ops.cast(vectors, layer.compute_dtype), training=True)
        assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype
        assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights} == {"float32", "int32"}
        assert keras.backend.standardize_dtype(layer.losses[0].dtype) == "float32" and np.isfinite(numbers(layer.losses[0]))
    if policy.endswith("float16") and "b" not in policy:
        for one, other in zip(*(layer.weights for layer in layers), strict=True):
            np.testing.assert_array_equal(numbers(one), numbers(other), err_msg=one.name)


def test_what_does_not_count_changes_neither_state_nor_losses():
    layers = [built(drawn(8, FEATURES), revival={"reservoir": 16, "warm_up_steps": 0}) for _ in range(2)]
    vectors = drawn(20, FEATURES, seed=2)
    padded = np.concatenate([vectors, 1e6 * drawn(5, FEATURES, seed=3), np.full((2, FEATURES), np.nan, "float32")])
    counted = np.arange(len(padded)) < len(vectors)
    found = [layers[0].match(vectors, training=True), layers[1].match(padded, training=True, counted=counted)]
    assert numbers(found[1].commitment) == pytest.approx(float(numbers(found[0].commitment)), rel=1e-5)
    for name, value in state_of(layers[0]).items():
        if not name.startswith("reservoir"):  # which takes other rows, or fewer
            np.testing.assert_allclose(state_of(layers[1])[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    kept = numbers(layers[1].reservoir)
    assert np.abs(kept).max() < 100
    before = state_of(layers[1])
    layers[1].match(padded, training=True, counted=np.zeros(len(padded)))
    for name, value in state_of(layers[1]).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_the_encoder_gets_the_gradient_of_the_output_and_the_pull_to_its_code():
    layer = built(drawn(8, FEATURES))
    vectors, weights = drawn(2, 5, FEATURES, seed=2), drawn(2, 5, FEATURES, seed=3)
    found = layer.match(vectors)
    gradient = gradient_of(lambda v: ops.sum(layer(v) * ops.convert_to_tensor(weights)), vectors)
    np.testing.assert_allclose(gradient, weights, atol=1e-6)
    gradient = gradient_of(lambda v: layer.match(v).commitment, vectors)
    np.testing.assert_allclose(gradient, 2 * (vectors - numbers(found.vectors)) / vectors.size, atol=1e-6)
    layer(vectors)
    assert float(numbers(layer.losses[-1])) == pytest.approx(0.25 * np.square(vectors - numbers(found.vectors)).mean(), rel=1e-5)


def test_two_stages_give_the_gradient_once_and_both_pull():
    """What a residual quantiser is built of: one straight-through around the sum, a commitment for each stage."""
    first, second = built(drawn(8, FEATURES)), built(0.3 * drawn(8, FEATURES, seed=4))
    vectors, weights = drawn(30, FEATURES, seed=2), drawn(30, FEATURES, seed=3)

    def stages(v):
        one = first.match(v)
        return one, second.match(v - ops.stop_gradient(one.vectors))

    def output(v):
        one, two = stages(v)
        return ops.sum(straight_through(v, one.vectors + two.vectors) * ops.convert_to_tensor(weights))

    np.testing.assert_allclose(gradient_of(output, vectors), weights, atol=1e-6)
    for stage in (0, 1):
        assert np.any(gradient_of(lambda v: stages(v)[stage].commitment, vectors))


def test_a_codebook_is_moved_by_running_means_or_by_its_gradient_and_never_by_both():
    ema, trained = built(drawn(8, FEATURES)), built(drawn(8, FEATURES), codebook_update="gradient")
    assert ema.trainable_weights == [] and [weight.name for weight in trained.trainable_weights] == ["codebook"]
    assert not hasattr(trained, "sums") and float(numbers(ema.match(drawn(9, FEATURES)).codebook_loss)) == 0
    before = numbers(trained.codebook)
    step(trained, drawn(50, FEATURES))
    np.testing.assert_array_equal(numbers(trained.codebook), before)
    assert np.any(numbers(trained.counts) != 1)
    still = built(drawn(8, FEATURES), codebook_update="none")
    step(still, drawn(50, FEATURES))
    np.testing.assert_array_equal(numbers(still.codebook), before)
    assert float(numbers(still.movement)) == 0


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_cosine_looks_at_directions_alone(update):
    layer = VectorQuantizer(8, similarity="cosine", codebook_update=update, decay=0.5, seed=1, revival=OFF)
    vectors, lengths = drawn(50, FEATURES), np.random.default_rng(3).uniform(0.01, 100, (50, 1)).astype("float32")
    outputs = numbers(layer(vectors, training=True))
    np.testing.assert_allclose(np.linalg.norm(outputs, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(numbers(layer.codebook), axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(numbers(layer.encode(vectors)), numbers(layer.encode(lengths * vectors)))
    np.testing.assert_allclose(numbers(layer.match(vectors).commitment), numbers(layer.match(lengths * vectors).commitment), rtol=1e-4)


def test_decoded_codes_are_the_output():
    for similarity in ("euclidean", "cosine"):
        layer = VectorQuantizer(8, similarity=similarity, seed=1)
        vectors = drawn(2, 5, FEATURES)
        layer.build(vectors.shape)
        codes = compute(layer.encode, vectors)
        assert codes.shape == (2, 5) and codes.dtype == "int32"
        np.testing.assert_allclose(numbers(layer.decode(codes)), numbers(layer(vectors)), atol=1e-6)


def model_with(optimizer, **arguments):
    """Three layers whose weights come from NumPy, so that every backend trains the same model."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(FEATURES), VectorQuantizer(8, seed=1, **arguments), keras.layers.Dense(2)])
    for layer, seed in ((model.layers[0], 6), (model.layers[2], 7)):
        layer.kernel.assign(ops.convert_to_tensor(drawn(*layer.kernel.shape, seed=seed)))
    model.compile(optimizer, "mse", jit_compile=keras.backend.backend() == "jax")
    return model


def test_it_learns_in_fit_and_goes_on_from_its_file(tmp_path):
    model = model_with(keras.optimizers.SGD(0.01), revival={"reservoir": 64, "warm_up_steps": 0, "patience": 0.5, "threshold": 1.0, "every_n_steps": 2, "cap": 2})
    x, y = drawn(150, 3), drawn(150, 2, seed=1)  # the last batch is short
    model.fit(x, y, batch_size=32, shuffle=False, verbose=0)
    assert float(numbers(model.layers[1].steps)) == 5 and float(numbers(model.layers[1].revived)) > 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(numbers(one), numbers(other))
    for one in (model, again):
        one.fit(x[::-1], y, batch_size=32, shuffle=False, verbose=0)
    for one, other in zip(model.layers[1].weights, again.layers[1].weights, strict=True):
        np.testing.assert_array_equal(numbers(one), numbers(other))


class Guarded(keras.Sequential):
    """A model that takes the statistics of a rejected step back, as the models of this package do."""

    def train_step(self, *arguments):
        return step_with_sound_statistics(self, super().train_step, arguments)


def test_a_step_that_the_optimizer_rejects_leaves_all_but_the_count_of_batches():
    model = Guarded([keras.Input((FEATURES,)), keras.layers.Dense(FEATURES), VectorQuantizer(8, seed=1, revival={"reservoir": 64, "warm_up_steps": 0})])
    model.compile(GuardedOptimizer(keras.optimizers.SGD(0.01)), "mse", jit_compile=keras.backend.backend() != "torch")
    x, y = drawn(32, FEATURES), drawn(32, FEATURES, seed=1)
    model.fit(x, y, batch_size=32, verbose=0)
    before = state_of(model.layers[-1])
    y[3, 1] = np.nan  # of which the quantiser sees nothing
    model.fit(x, y, batch_size=32, verbose=0)
    assert int(numbers(model.optimizer.skipped_steps)) == 1
    for name, value in state_of(model.layers[-1]).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_no_warning_and_no_revival_by_default_where_a_gradient_trains():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert VectorQuantizer(8).revival.rule == "relative"
        assert VectorQuantizer(8, codebook_update="gradient").revival.rule == "off"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codebook_size": 1}, "`codebook_size` must be at least 2. Received: codebook_size=1"),
        ({"similarity": "cosin"}, "`similarity` is unknown. Received: similarity='cosin'. Did you mean `cosine`?"),
        ({"codebook_update": "both"}, "`codebook_update` is unknown. Received: codebook_update='both'."),
        ({"ema_source": "residuals"}, "`ema_source` is unknown. Received: ema_source='residuals'. Did you mean `residual`?"),
        ({"decay": 1.0}, "`decay` must lie between 0 and below 1. Received: decay=1.0"),
        ({"epsilon": 0.0}, "`epsilon` must be above 0. Received: epsilon=0.0"),
        ({"commitment_weight": -1.0}, "`commitment_weight` must be at least 0. Received: commitment_weight=-1.0"),
        ({"vectors_per_step": 0}, "`vectors_per_step` must be at least 1. Received: vectors_per_step=0"),
        ({"codebook_update": "gradient", "revival": {"cap": 2}}, "`revival` needs a codebook that no optimizer moves."),
        ({"codebook_update": "gradient", "ema_source": "quantized"}, "`ema_source` is for `codebook_update='ema'`."),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(ValueError) as caught:
        VectorQuantizer(**{"codebook_size": 8, **arguments})
    assert message in str(caught.value)


def test_a_codebook_that_does_not_fit_is_told():
    layer = built(drawn(8, FEATURES))
    with pytest.raises(ValueError, match=r"`codebook` must have the shape \(codes, features\) of the layer, \(8, 4\). Received: shape=\(8, 5\)"):
        layer.set_codebook(drawn(8, 5))
    with pytest.raises(ValueError, match=r"`codebook` and `sizes` must be finite, one size for each of 8 codes"):
        layer.set_codebook(np.full((8, FEATURES), np.nan))
    with pytest.raises(ValueError, match=r"Received: sizes of shape \(7,\)"):
        layer.set_codebook(drawn(8, FEATURES), sizes=np.ones(7))

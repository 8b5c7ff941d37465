"""What every registered class keeps, whatever it does: built from the rows of `tests/tiny.py`."""

import dataclasses
import inspect
import json
import re

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.audio.track import Track
from kseparation.config.arguments import check_arguments
from kseparation.data import AUGMENTATIONS
from kseparation.data.augment import StemChoice
from kseparation.layers import LAYERS
from kseparation.losses import LOSSES, Objective
from kseparation.metrics import METRICS
from kseparation.models import MODELS, load_model
from kseparation.training import CALLBACKS
from tests import tiny
from tests.on_backend import GradientRecorder, compute, gradient_of, numbers

REGISTRIES = {
    "LAYERS": LAYERS,
    "LOSSES": LOSSES,
    "METRICS": METRICS,
    "MODELS": MODELS,
    "AUGMENTATIONS": AUGMENTATIONS,
    "CALLBACKS": CALLBACKS,
}
# Set for every object by Keras itself.
OF_KERAS = {"self", "name", "dtype", "kwargs"}
# Arguments that may not be given beside others.
ALTERNATIVES = {"gradient_clipping": {"norm"}, "vector_quantizer": {"ema_source"}}

# Biases directly in front of a batch normalisation, whose mean takes them away again.
CANCELLED = re.compile(r"(convolution|(down|up)sample(_\d+)?)/bias$")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def batch(row, size=2):
    return [noise(size, *shape, seed=seed) for seed, shape in enumerate(row.shapes)]


def references_and_estimates(row, size):
    true, pred = noise(size, *row.shapes[0]), noise(size, *row.shapes[-1], seed=1)
    return (np.round(3 * np.abs(true)), 0.1 + np.abs(pred)) if row.counts else (true, pred)


def plain(config):
    """A config as JSON gives it back: lists for tuples, mappings for records."""
    return json.loads(json.dumps(config, default=dataclasses.asdict))


def shapes_of(tensors):
    return [tuple(tensor.shape) for tensor in (tensors if isinstance(tensors, (list, tuple)) else [tensors])]


def one_tensor(outputs):
    """Outputs of any layer as one tensor, which a loss can take."""
    return ops.stack(outputs, axis=-1) if isinstance(outputs, (list, tuple)) else outputs


def every_weight_has_a_gradient(model, before):
    """After a step with `GradientRecorder`, whose steps put the gradient in the place of the weight."""
    for weight, old in zip(model.trainable_weights, before, strict=True):
        gradient = numbers(weight)
        assert np.all(np.isfinite(gradient)), weight.path
        assert not np.array_equal(gradient, old), f"{weight.path} was not reached"
        assert np.any(gradient) or CANCELLED.search(weight.path), f"{weight.path} has a gradient of zero"


@pytest.mark.parametrize("registry", REGISTRIES)
def test_every_name_has_a_row(registry):
    assert set(REGISTRIES[registry]) == set(getattr(tiny, registry))


@pytest.mark.parametrize(("registry", "name"), [(registry, name) for registry in REGISTRIES for name in REGISTRIES[registry]])
def test_row_gives_each_argument_a_value_unlike_its_default(registry, name):
    row = getattr(tiny, registry)[name]
    own = next(base for base in REGISTRIES[registry][name].__mro__ if "__init__" in vars(base))
    parameters = inspect.signature(own.__init__).parameters if own.__module__.startswith("kseparation.") else {}
    wanted = {key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_POSITIONAL} - OF_KERAS
    assert set(row.arguments) == wanted - ALTERNATIVES.get(name, set())
    for key, value in row.arguments.items():
        assert value != parameters[key].default, key


@pytest.mark.parametrize(("registry", "name"), [(r, n) for r in ("LOSSES", "MODELS", "METRICS", "AUGMENTATIONS") for n in REGISTRIES[r]])
def test_row_passes_the_check_of_configs(registry, name):
    """What a config file may give: the annotations of the constructor accept it."""
    arguments = plain(getattr(tiny, registry)[name].arguments)
    assert plain(check_arguments(REGISTRIES[registry][name], arguments, name)) == arguments


@pytest.mark.parametrize(("registry", "name"), [(r, n) for r in ("LAYERS", "LOSSES", "METRICS", "MODELS") for n in REGISTRIES[r]])
def test_config_round_trip_keeps_each_argument(registry, name):
    component, row = REGISTRIES[registry][name], getattr(tiny, registry)[name]
    built = component(**row.arguments, name="given")
    config = plain(keras.saving.serialize_keras_object(built))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is component
    for config in (built.get_config(), again.get_config()):
        assert config["name"] == "given"
        assert plain({key: config[key] for key in row.arguments}) == plain(row.arguments)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_tells_its_shape_before_it_runs(name):
    row = tiny.LAYERS[name]
    layer = LAYERS[name](**row.arguments)
    inputs = batch(row)
    told = layer.compute_output_shape(*(array.shape for array in inputs))
    assert shapes_of(compute(layer, *inputs)) == [tuple(shape) for shape in (told if isinstance(told[0], tuple) else [told])]
    symbolic = layer(*(keras.KerasTensor((None, *array.shape[1:])) for array in inputs))
    assert shapes_of(symbolic) == [(None, *shape[1:]) for shape in shapes_of(compute(layer, *inputs))]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_learns_in_a_model_and_survives_its_file(name, tmp_path):
    row = tiny.LAYERS[name]
    inputs = [keras.Input(shape) for shape in row.shapes]
    model = keras.Model(inputs, keras.layers.Dense(2)(one_tensor(LAYERS[name](**row.arguments)(*inputs))))
    data = batch(row)
    before = model.predict_on_batch(data)
    model.save(tmp_path / "layer.keras")
    again = keras.saving.load_model(tmp_path / "layer.keras")
    np.testing.assert_array_equal(again.predict_on_batch(data), before)

    model.compile(GradientRecorder(), "mse", run_eagerly=True, jit_compile=False)
    weights = [numbers(weight) for weight in model.trainable_weights]
    history = model.fit(data, before + noise(*before.shape, seed=9), batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    every_weight_has_a_gradient(model, weights)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_takes_a_batch_of_one(name):
    row = tiny.LAYERS[name]
    layer = LAYERS[name](**row.arguments)
    pair = one_tensor(compute(layer, *batch(row)))
    single = one_tensor(compute(layer, *(array[:1] for array in batch(row))))
    np.testing.assert_allclose(single, pair[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_pulls_a_batch_of_one_towards_its_target(name):
    row = tiny.LOSSES[name]
    loss = LOSSES[name](**row.arguments)
    true, pred = references_and_estimates(row, 1)
    value = compute(loss, true, pred)
    assert value.shape == () and np.isfinite(value) and value > 0
    gradient = gradient_of(lambda pred: loss(true, pred), pred)
    assert np.all(np.isfinite(gradient)) and np.any(gradient)
    assert compute(loss, true, pred - 1e-3 * gradient / np.abs(gradient).max()) < value


@pytest.mark.parametrize("kind", ["loss", "metric"])
@pytest.mark.parametrize("name", sorted({*LOSSES, *METRICS}))
def test_loss_or_metric_in_a_model_survives_its_file(kind, name, tmp_path):
    registry, rows = (LOSSES, tiny.LOSSES) if name in LOSSES else (METRICS, tiny.METRICS)
    component, row = registry[name](**rows[name].arguments), rows[name]
    activation = "softplus" if row.counts else None
    model = keras.Sequential([keras.Input(row.shapes[-1]), keras.layers.Dense(row.shapes[-1][-1], activation)])
    true, inputs = references_and_estimates(row, 2)
    loss, metrics = (component, []) if name in LOSSES else ("mse", [component])
    model.compile("sgd", loss, metrics=metrics, run_eagerly=True, jit_compile=False)
    history = model.fit(inputs, true, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    model.save(tmp_path / "compiled.keras")
    again = keras.saving.load_model(tmp_path / "compiled.keras")
    scores = [m.evaluate(inputs, true, verbose=0, return_dict=True) for m in (model, again)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def model_input(row, size=2):
    """What the models of a family take."""
    if not row.counts:
        return batch(row, size)[0]
    counts = 1 + np.round(3 * np.abs(noise(size, *row.shapes[0])))
    numbers_of = {"conditions": len(row.arguments["conditions"]), "labels": len(row.arguments["cell_types"])}
    return {"counts": counts, "library_sizes": counts.sum(axis=1, keepdims=True) * 1.5, **{key: np.arange(size, dtype="int32") % number for key, number in numbers_of.items()}}


@pytest.mark.parametrize("name", MODELS)
def test_model_keeps_the_contract_of_its_family(name, tmp_path):
    row = tiny.MODELS[name]
    model, given = MODELS[name](**row.arguments), model_input(row)
    model.build(keras.tree.map_structure(np.shape, given))
    output = compute(model, given)
    symbolic = model(keras.tree.map_structure(lambda part: keras.KerasTensor((None, *part.shape[1:]), part.dtype.name), given))
    assert tuple(symbolic.shape) == (None, *output.shape[1:])
    np.testing.assert_allclose(compute(model, keras.tree.map_structure(lambda part: part[:1], given)), output[:1], rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path, model.task)
    np.testing.assert_array_equal(compute(again, given), output)
    assert plain({key: again.get_config()[key] for key in row.arguments}) == plain(row.arguments)

    compiled = keras.backend.backend() == "jax"  # op by op it would take a minute
    loss = next(loss for loss in LOSSES.values() if getattr(loss, "task", "separation") == model.task)
    model.compile(GradientRecorder(), Objective({"wave": loss()}), run_eagerly=not compiled, jit_compile=compiled)
    weights = [numbers(weight) for weight in model.trainable_weights]
    references = given["counts"] if row.counts else output + noise(*output.shape)
    history = model.fit(given, references, batch_size=2, verbose=0).history
    assert {"loss", "total", "wave"} <= set(history) and np.isfinite(history["loss"]).all()
    every_weight_has_a_gradient(model, weights)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_is_a_pure_function_of_its_generator(name):
    augmentation = AUGMENTATIONS[name](**tiny.AUGMENTATIONS[name].arguments)
    songs = [Track(f"song {index}", {stem: "nowhere.wav" for stem in tiny.STEMS}, None, 8000, 2, 1000) for index in range(3)]
    choices = [StemChoice(stem, 1, 7, 0.5) for stem in tiny.STEMS]
    kept = list(choices)
    first, second = (augmentation(choices, np.random.default_rng(4), songs, 100) for _ in range(2))
    assert first == second != choices
    assert choices == kept
    assert [choice.stem for choice in first] == list(tiny.STEMS)


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_goes_along_with_fit(name):
    callback = CALLBACKS[name](**tiny.CALLBACKS[name].arguments)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = numbers(model.trainable_weights[0])
    history = model.fit(noise(4, 3), noise(4, 1), verbose=0, callbacks=[callback]).history
    assert np.isfinite(history["loss"]).all()
    assert np.any(numbers(model.trainable_weights[0]) != before)

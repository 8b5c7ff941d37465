"""Each kind of fault in a small model, by the place that an examination of one step names."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.losses import LOSSES
from kseparation.training import GuardedOptimizer, examination
from kseparation.training.examination import examine_step, plain_losses
from tests.faulty_models import (
    Around,
    Chain,
    Fails,
    HandsOver,
    Logarithm,
    MaskedMaximum,
    Parts,
    Quotient,
    Root,
    RootOfDense,
    RootTwice,
    UnitLength,
    UsesWeights,
    batch,
    chain,
    compiled,
    divided,
    fault,
    line,
    rooted,
    state,
)
from tests.on_backend import numbers, weight_gradients
from tests.tiny_separator import CHANNELS, SAMPLES, TinySeparator, tiny_separator


def test_a_sound_step_has_no_finding_and_changes_nothing():
    x, y = batch()
    keras.utils.set_random_seed(3)
    model = compiled(TinySeparator(dropout=0.4, name="tiny"))
    model.train_on_batch(x, y)
    before = state(model)
    operators = vars(type(ops.convert_to_tensor(1.0))).copy()
    first, again = (examine_step(model, x, y) for _ in range(2))
    assert state(model) == before
    assert first == again and first.finding is None and first.batch_finite and first.bad_weights == ()
    assert list(first.scales) == ["tiny", "tiny/normalize", "tiny/dropout", "tiny/dense"] and all(scale > 0 for scale in first.scales.values())
    assert list(first.gradient_norms) == [weight.path for weight in model.trainable_variables]
    assert all(np.isfinite(value) and value > 0 for value in first.gradient_norms.values())
    assert first.parts == {"waveform_l1": pytest.approx(first.loss)}
    assert not any("call" in vars(layer) for layer in (model, model.dense)) and not hasattr(ops.log, "__wrapped__")
    assert dict(vars(type(ops.convert_to_tensor(1.0)))) == operators
    assert model.handed_over() is None
    logs = model.train_on_batch(x, y, return_dict=True)
    assert first.loss == pytest.approx(float(logs["total"]), rel=1e-6)


def test_norms_are_those_of_the_gradients_of_a_step():
    x, y = batch()
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1), loss_scaling=True))
    found = examine_step(model, x, y).gradient_norms
    expected = weight_gradients(model, x, y, LOSSES["waveform_l1"]())
    assert found == {path: pytest.approx(np.linalg.norm(gradient), rel=1e-5) for path, gradient in expected.items()}


def test_outside_a_training_statistics_and_schedules_are_those_of_inference():
    x, y = batch()
    model = compiled(TinySeparator(), {"a": LOSSES["waveform_l1"](), "b": LOSSES["waveform_l1"]()}, schedules={"b": (5, 5)})
    training, inference = (examine_step(model, x, y, training=training) for training in (True, False))
    assert training.parts["b"] == 0 < inference.parts["b"] == inference.parts["a"] != training.parts["a"]


def test_a_logarithm_of_zero_is_named_with_its_line():
    finding = fault(chain(Logarithm(name="logarithm")), *batch())
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("forward", "chain/logarithm", None, "log")
    assert finding.place == line("log")
    assert finding.smallest_input == 0 < finding.largest_input < 10 and finding.input_finite


def test_an_operator_counts_as_an_operation():
    finding = fault(chain(Quotient(name="quotient")), *batch())
    assert (finding.layer, finding.operation, finding.place) == ("chain/quotient", "divide", line("quotient"))
    assert finding.smallest_input == 0


def test_an_infinite_value_that_a_layer_deals_with_is_no_fault():
    assert examine_step(chain(Around(MaskedMaximum(name="masked"), name="around")), *batch()).finding is None


@pytest.mark.parametrize(("layer", "direction"), [(Logarithm, "forward"), (Root, "backward")])
def test_the_innermost_layer_is_named(layer, direction):
    model = chain(Around(layer(name="inner"), name="around"))
    model.layers_before[1].first.kernel.assign(np.zeros((CHANNELS, CHANNELS)))
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer) == (direction, "chain/around/inner")


@pytest.mark.parametrize(("layer", "marker"), [(Root, "sqrt"), (UnitLength, "length")])
def test_a_gradient_that_alone_is_bad_is_followed_to_its_operation(layer, marker):
    x, y = batch(silent=True)
    model = chain(MaskedMaximum(name="masked"), layer(name="odd"))
    before = state(model)
    found = examine_step(model, x, y)
    finding = found.finding
    assert np.isfinite(found.loss) and not np.isfinite(found.gradient_norms["chain/begin/kernel"]) and np.isfinite(found.gradient_norms["chain/end/kernel"])
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("backward", "chain/odd", None, "sqrt")
    assert finding.place == line(marker) and finding.smallest_input == 0 and finding.input_finite
    assert state(model) == before


def test_a_weight_that_is_used_outside_of_its_layer_is_no_fault_of_the_layer():
    finding = fault(compiled(UsesWeights()), *batch())
    assert (finding.direction, finding.layer, finding.operation, finding.place) == ("backward", "chain", "sqrt", line("kernel"))


def test_of_two_calls_with_the_same_weights_the_one_at_fault_is_named():
    finding = fault(chain(RootTwice(RootOfDense(name="inner"), name="twice")), *batch())
    assert (finding.direction, finding.layer, finding.operation, finding.place) == ("backward", "chain/twice/inner", "sqrt", line("root of dense"))
    assert finding.largest_input == 0


def test_outside_a_training_no_gradient_is_taken(monkeypatch):
    """Which would take the memory of a training, for a fault that a validation cannot have."""
    model = chain(Root(name="odd"))
    monkeypatch.setattr(examination, "gradients", None)
    found = examine_step(model, *batch(silent=True), training=False)
    assert found.finding is None and found.gradient_norms == {} and np.isfinite(found.loss)


def test_plain_losses_are_those_of_the_examination_and_change_nothing():
    x, y = batch()
    for model in (compiled(TinySeparator(dropout=0.4)), compiled(HandsOver()), chain(Quotient())):
        before = state(model)
        for training in (True, False):
            plain, found = plain_losses(model, x, y, training), examine_step(model, x, y, training)
            assert plain == pytest.approx({**found.parts, "total": found.loss}, nan_ok=True)
        assert state(model) == before
    assert not np.isfinite(plain["total"])


def test_a_part_of_the_loss_that_divides_by_zero_is_named():
    found = examine_step(chain(losses={"waveform_l1": LOSSES["waveform_l1"](), "two": Parts(divided)}), *batch())
    finding = found.finding
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("loss", None, "two/odd", "divide")
    assert finding.place == line("part") and finding.smallest_input == 0
    assert np.isfinite(found.parts["two/sound"]) and not np.isfinite(found.parts["two/odd"]) and not np.isfinite(found.loss)


def test_a_part_that_does_not_count_is_no_fault():
    losses = {"waveform_l1": LOSSES["waveform_l1"](), "two": Parts(divided)}
    found = examine_step(chain(losses=losses, weights={"two": 0.0}), *batch())
    assert found.finding is None and not np.isfinite(found.parts["two/odd"]) and np.isfinite(found.loss)


def test_a_part_of_the_loss_whose_gradient_is_bad_is_named():
    finding = fault(chain(losses={"waveform_l1": LOSSES["waveform_l1"](), "two": Parts(rooted)}), *batch())
    assert (finding.direction, finding.layer, finding.part, finding.operation) == ("backward", None, "two/odd", "sqrt")
    assert finding.place == line("loss root") and finding.smallest_input == 0


@pytest.mark.parametrize(("odd", "direction", "operation"), [("log", "loss", "log"), ("sqrt", "backward", "sqrt")])
def test_a_part_of_the_model_itself_is_named(odd, direction, operation):
    model = compiled(HandsOver(name="hands_over"))
    assert examine_step(model, *batch()).finding is None
    model.odd = {"log": lambda stems: ops.mean(ops.log(stems)), "sqrt": lambda stems: ops.sqrt(ops.sum(ops.square(stems)))}[odd]
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.part, finding.operation) == (direction, None, "own", operation)


def test_what_is_handed_over_is_an_output_too():
    class Spoils(HandsOver):
        def call(self, mixture, training=False):
            stems = super().call(mixture, training=training)
            self.hand_over({"stems": ops.log(stems * 0.0)})
            return stems

    finding = fault(compiled(Spoils(name="spoils")), *batch())
    assert (finding.direction, finding.layer, finding.operation) == ("forward", "spoils", "log")


def test_a_penalty_of_a_layer_is_named():
    model = chain(keras.layers.Dense(CHANNELS, kernel_regularizer=lambda kernel: ops.sqrt(ops.sum(ops.square(kernel * 0.0))), name="held"))
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.part) == ("backward", None, "penalties")
    model = chain(keras.layers.Dense(CHANNELS, activity_regularizer=lambda output: ops.sum(output) * np.inf, name="held"))
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.part) == ("loss", None, "penalties")


def test_weights_that_are_bad_to_begin_with():
    model = chain(keras.layers.Dense(CHANNELS, name="middle"))
    kernel = numbers(model.layers_before[1].kernel)
    kernel[0, 1] = np.nan
    model.layers_before[1].kernel.assign(kernel)
    found = examine_step(model, *batch())
    assert found.bad_weights == ("chain/middle/kernel",) and found.batch_finite
    assert (found.finding.direction, found.finding.layer, found.finding.input_finite) == ("forward", "chain/middle", False)


def test_a_batch_that_is_bad_to_begin_with():
    model = chain(Logarithm(name="logarithm"))
    x, y = batch()
    x[0, 3, 1] = np.inf
    found = examine_step(model, x, y)
    assert not found.batch_finite and found.bad_weights == ()
    assert (found.finding.direction, found.finding.layer, found.finding.input_finite) == ("forward", "chain/begin", False)
    x, y = batch()
    y[0, 0, 3, 1] = np.nan
    found = examine_step(chain(), x, y)
    assert not found.batch_finite
    assert (found.finding.direction, found.finding.part, found.finding.input_finite) == ("loss", "waveform_l1", False)


def test_an_overflow_of_half_precision_is_a_finding():
    model = chain(keras.layers.Dense(CHANNELS, dtype="mixed_float16", kernel_initializer=keras.initializers.Constant(3e4), name="half"))
    x, y = batch()
    finding = fault(model, x * 100, y)
    assert (finding.direction, finding.layer, finding.operation, finding.largest_input) == ("forward", "chain/half", "matmul", 3e4)


def test_a_plain_loss_of_keras_is_one_part():
    model = Chain(Root(name="odd"))
    model.build((None, SAMPLES, CHANNELS))
    model.compile("sgd", loss="mse")
    found = examine_step(model, *batch())
    assert found.finding is None and found.parts == {"loss": found.loss}
    finding = fault(model, *batch(silent=True))
    assert (finding.direction, finding.layer, finding.operation) == ("backward", "chain/odd", "sqrt")


def test_an_error_of_a_layer_passes_and_all_is_put_back():
    model = chain(Fails(name="fails"))
    with pytest.raises(RuntimeError, match="a fault of its own"):
        examine_step(model, *batch())
    assert not any("call" in vars(layer) for layer in (model, *model.layers_before)) and not hasattr(ops.log, "__wrapped__")
    assert model.handed_over() is None


def test_a_model_that_is_not_compiled_is_refused():
    with pytest.raises(ValueError, match=r"`model` must be a TrackedModel that is built and compiled"):
        examine_step(TinySeparator(), *batch())

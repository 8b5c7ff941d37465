"""One training step, taken apart on the spot: which layer, operation or part of the loss made the first value that is not finite."""

import contextlib
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from kseparation.losses import Objective
from kseparation.metrics.step_count import StepCount
from kseparation.training.float_tensors import (
    all_finite,
    float_tensors,
    gradients,
    largest,
    norm,
    replace_float_tensors,
    smallest,
)
from kseparation.training.layer_watch import layer_paths
from kseparation.training.step_watch import Operation, ValueWatch, faulty_places

# Of what layers and weights add to the loss, beside the parts that have a name.
PENALTIES = "penalties"
_UNKNOWN = Operation(None, None)


@dataclass(frozen=True)
class Finding:
    """Where the first value that is not finite is born.

    Args:
        direction: `"forward"`, `"loss"` or `"backward"`; in the last, values are finite and a gradient is not.
        layer: path of the innermost layer at fault, such as `moises_light/encoder_0/dense`; None where the loss is.
        part: name of the part of the loss at fault, as it is logged; None where a layer is, or where each part by itself is sound.
        operation: name of the function of `keras.ops` that makes it from finite inputs, or whose gradient it is; None where nothing tells.
        place: `file:line` of the code that called the operation; without one, of the code that first met the value. None where that is no code but a library's.
        largest_input: largest finite magnitude among the inputs of the operation, or of the layer with its weights.
        smallest_input: smallest magnitude among the inputs; 0 tells of a logarithm, a root or a division at zero.
        input_finite: whether the batch and the weights were finite to begin with.
    """

    direction: str
    layer: str | None
    part: str | None
    operation: str | None
    place: str | None
    largest_input: float
    smallest_input: float
    input_finite: bool


@dataclass(frozen=True)
class Examination:
    """What one step computed.

    Args:
        loss: the total, without the scale of half precision.
        parts: each part of the loss by the name under which it is logged.
        batch_finite: whether inputs and references are.
        bad_weights: paths of the weights, trained or not, that are not finite.
        finding: the first fault in the order forward, loss, backward; None where everything is finite.
        scales: largest magnitude of the outputs of each layer by path, in the order in which they are called; NaN or infinite where one is.
        gradient_norms: norm of the gradient of each trainable variable by path, without the scale of half precision; empty outside of a training.
    """

    loss: float
    parts: dict[str, float]
    batch_finite: bool
    bad_weights: tuple[str, ...]
    finding: Finding | None
    scales: dict[str, float]
    gradient_norms: dict[str, float]


def examine_step(model: keras.Model, x: Any, y: Any, training: bool = True) -> Examination:
    """Computes loss and gradients of one batch operation by operation, and finds where the first value that is not finite is born.

    Nothing in the model changes: neither weights, statistics, seeds, metrics nor optimizer. A sound step costs a forward pass that is looked at everywhere and a gradient; only where
    gradients alone are bad, a few more passes follow, each of which asks one level deeper. JAX compiles each operation for each shape at the first time.

    A gradient that is not finite where it is born can be lost on its way to the weights, on some backends only: those of torch and JAX give zero to what a ReLU has cut off,
    TensorFlow NaN. It is a finding where a weight would get it.

    Args:
        model: a `TrackedModel`, built and compiled.
        x: input of the batch, arrays or tensors.
        y: its references.
        training: whether layers and schedules work as in a training; without, no gradient is taken.

    Returns:
        What was computed, with a finding where something is not finite.

    Raises:
        ValueError: if the model is not a `TrackedModel` that has been built and compiled.
    """
    return _Step(model, x, y, training).examine()


def plain_losses(model: keras.Model, x: Any, y: Any, training: bool = False) -> dict[str, float]:
    """Returns the parts of the loss of one batch and their `total`: one forward pass in which nothing is looked at, for those who look for the batch that deserves an `examine_step`.

    As there, nothing in the model changes.

    Args:
        model, x, y: as for `examine_step`.
        training: whether layers and schedules work as in a training.
    """
    return _Step(model, x, y, training).plain()


class _Step:
    """The step of one batch, which can be run as often as it takes."""

    def __init__(self, model, x, y, training):
        if not (hasattr(model, "opened_step") and model.built and model.compiled):
            raise ValueError(f"`model` must be a TrackedModel that is built and compiled. Received: model={model!r}. Call `model.build(shape)` and `model.compile(...)` first.")
        self.model, self.training = model, training
        self.x, self.y = (keras.tree.map_structure(ops.convert_to_tensor, batch) for batch in (x, y))
        self.weights = list(model.trainable_variables)
        self.values = [ops.stop_gradient(ops.convert_to_tensor(weight)) for weight in self.weights]
        self.sources = self._sources()
        self.paths = {id(layer): path for layer, path in layer_paths(model)}

    def _sources(self):
        """What adds to the loss, each a function of the prediction that returns its parts: so that each can be looked at alone."""
        model, loss = self.model, self.model.loss
        if not model.tracks_parts:
            return {"loss": lambda y_pred: {"loss": model.compute_loss(self.x, self.y, y_pred, training=self.training)}}
        sources = {"parts of the model": lambda _: model.objective_parts(self.x, self.y)} if model.objective_names() else {}
        if loss is None:
            return sources

        def alone(name):
            schedules = {name: loss.schedules[name]} if name in loss.schedules else None
            single = Objective({name: loss.losses[name]}, {name: loss.weights[name]}, schedules, alone=False)
            return lambda y_pred: single.parts(self.y, y_pred, self._steps_before())

        return {**sources, **{f"loss {name}": alone(name) for name in loss.losses}}

    def _steps_before(self):
        if not self.training:
            return None
        counter = next(metric for metric in self.model.metrics if isinstance(metric, StepCount))
        return ops.convert_to_tensor(counter.count) // getattr(self.model.optimizer, "accumulate_steps", 1)

    def _counts(self, source):
        """Whether the parts of a source add to the total; those of weight 0 are only logged."""
        return not source.startswith("loss ") or self.model.loss.weights[source.removeprefix("loss ")] > 0

    @contextlib.contextmanager
    def _open(self, values, watch=None):
        """Opens a context in which the weights have these values and all that the step writes is forgotten."""
        with keras.StatelessScope(list(zip(self.weights, values, strict=True)), collect_losses=True), self.model.opened_step(), watch or contextlib.nullcontext():
            yield

    def _predict(self):
        return self.model(self.x, training=self.training)

    def _parts(self, y_pred, watch=None, only=None):
        """Returns `{source: {part: value}}`."""
        found = {}
        for source, parts_of in self.sources.items():
            if only in (None, source):
                with watch.part(source) if watch else contextlib.nullcontext():
                    found[source] = parts_of(y_pred)
        return found

    def _penalties(self):
        """What layers and weights add to the loss; a loss of Keras counts it itself."""
        return sum(ops.cast(ops.sum(penalty), "float32") for penalty in self.model.losses) if self.model.tracks_parts and self.model.losses else None

    def _sum(self, parts):
        return sum(value for source, values in parts.items() if self._counts(source) for value in values.values())

    def _scaled(self, total):
        return total if self.model.optimizer is None else self.model.optimizer.scale_loss(total)

    def _total(self, values, watch=None):
        """The scalar that a training step differentiates, as a function of the weights."""
        with self._open(values, watch):
            total = self._sum(self._parts(self._predict(), watch))
            penalties = self._penalties()
            return self._scaled(total if penalties is None else total + penalties)

    def plain(self):
        """The losses as the model itself adds them up."""
        model = self.model
        with self._open(self.values):
            y_pred = self._predict()
            if not model.tracks_parts:
                return {"total": _number(model.compute_loss(self.x, self.y, y_pred, training=self.training))}
            parts = model.objective_parts(self.x, self.y)
            total = sum(parts.values())
            if model.loss is not None:
                others = model.loss.parts(self.y, y_pred, self._steps_before())
                parts, total = {**parts, **others}, total + model.loss.total(others)
            penalties = self._penalties()
            total = total if penalties is None else total + penalties
            return {name: _number(value) for name, value in {**parts, "total": total}.items()}

    def examine(self):
        watch = ValueWatch(self.model)
        loss_calls = {}
        with self._open(self.values, watch):
            self.y_pred = self._predict()
            self.handed = self.model.handed_over()
            parts = {}
            for source in self.sources:
                with watch.part(source) as call:
                    parts[source] = self.sources[source](self.y_pred)
                loss_calls[source] = call
            penalties = self._penalties()
            total = self._sum(parts) if penalties is None else self._sum(parts) + penalties
            scale = float(ops.convert_to_numpy(self._scaled(ops.ones(()))))
        found = gradients(self._total, self.values) if self.weights and self.training else []
        bad_weights = tuple(weight.path for weight in self.model.weights if not all_finite(weight))
        batch_finite = all_finite((self.x, self.y))
        self.input_finite = batch_finite and not bad_weights
        finding = self._forward(watch.calls) or self._in_loss(parts, penalties, total, loss_calls)
        if finding is None and not all_finite(found):
            finding = self._backward()
        values = {name: value for of_source in parts.values() for name, value in of_source.items()}
        return Examination(
            loss=_number(total),
            parts={name: _number(value) for name, value in (values if penalties is None else {**values, PENALTIES: penalties}).items()},
            batch_finite=batch_finite,
            bad_weights=bad_weights,
            finding=finding,
            scales=self._scales(watch.calls),
            gradient_norms={weight.path: norm(gradient) / scale for weight, gradient in zip(self.weights, found)},
        )

    def _scales(self, calls):
        scales = {}
        for call in calls:
            before = scales.get(call.key[0], 0.0)
            scales[call.key[0]] = before if call.scale <= before or before != before else call.scale
        return scales

    def _found(self, direction, layer, part, operation, largest_input, smallest_input):
        if operation.name is not None:
            largest_input, smallest_input = operation.largest, operation.smallest
        return Finding(direction, layer, part, operation.name, operation.place, largest_input, smallest_input, self.input_finite)

    def _forward(self, calls):
        """The innermost layer that first made what is not finite from what is; or the first that gave it, where the batch had it already."""
        if not all_finite(self.handed):  # what the loss gets from the model is its output too
            calls[0].gives_finite = False
        keys = {call.key for call in calls}
        for makers in (True, False):
            bad = [call for call in calls if not call.gives_finite and (call.takes_finite or not makers)]
            found, inside = None, [call for call in bad if call.inside not in keys]
            while inside:
                found = inside[0]
                inside = [call for call in bad if call.inside == found.key]
            if found is not None:
                return self._found("forward", found.key[0], None, found.operation or _UNKNOWN, found.largest, found.smallest)
        return None

    def _in_loss(self, parts, penalties, total, calls):
        for source, values in parts.items():
            for name, value in values.items():
                if self._counts(source) and not all_finite(value):
                    given = (self.y, self.y_pred, self.handed)
                    return self._found("loss", None, name, calls[source].operation or _UNKNOWN, largest(given), smallest(given))
        if all_finite(total):
            return None
        part = PENALTIES if penalties is not None and not all_finite(penalties) else None
        return self._found("loss", None, part, _UNKNOWN, *self._range(parts))

    @staticmethod
    def _range(nest):
        return largest(nest), smallest(nest)

    def _backward(self):
        if bad := self._gradient_of_loss():
            return bad
        if bad := self._gradient_of_penalties():
            return bad
        root = (self.paths[id(self.model)], 0)
        inside, found, operation = self._deepest(root, None)
        input_range = self._range(self.x) if found is None else (found.largest, found.smallest)
        return self._found("backward", inside[0], None, operation, *input_range)

    def _deepest(self, inside, found):
        """The innermost call with an operation at fault; where none has one, the innermost that is suspected. `found` tells what the call `inside` is."""
        first = None
        # From the outermost layer inwards, so that probes for one level at a time have to fit into the memory. A suspect in whom nothing is found was suspected for
        # what others do with its weights.
        for key, place in faulty_places(self.model, self._total, self.values, inside, True, self.weights):
            deeper = self._deepest(key, place)
            if deeper[2].name is not None:
                return deeper
            first = first or deeper
        for _, operation in faulty_places(self.model, self._total, self.values, inside, False)[:1]:
            return inside, found, operation
        return first or (inside, found, _UNKNOWN)

    def _gradient_of_loss(self):
        """Finds the part of the loss whose gradient is not finite where the model hands over to it."""
        boundary = float_tensors((self.y_pred, self.handed))

        def after(leaves, watch=None, only=None):
            with self._open(self.values, watch):
                y_pred, handed = replace_float_tensors((self.y_pred, self.handed), lambda place, _: leaves[place])
                if handed is not None:
                    self.model.hand_over(handed)
                return self._parts(y_pred, watch, only)

        def whole(leaves, watch=None):
            return self._scaled(self._sum(after(leaves, watch)))

        if all_finite(gradients(whole, boundary)):
            return None
        with self._open(self.values):
            names = [(source, name) for source, values in after(boundary).items() if self._counts(source) for name in values]
        for source, name in names:

            def alone(leaves, watch=None):
                return self._scaled(after(leaves, watch, source)[source][name])

            if not all_finite(gradients(alone, boundary)):
                _, operation = (faulty_places(self.model, alone, boundary, (source, 0), False) or [(None, _UNKNOWN)])[0]
                return self._found("backward", None, name, operation, *self._range((self.y, boundary)))
        return self._found("backward", None, None, _UNKNOWN, *self._range((self.y, boundary)))

    def _gradient_of_penalties(self):
        def alone(values):
            with self._open(values):
                self._predict()
                return self._scaled(self._penalties())

        with self._open(self.values):
            self._predict()
            if self._penalties() is None:
                return None
        if all_finite(gradients(alone, self.values)):
            return None
        return self._found("backward", None, PENALTIES, _UNKNOWN, *self._range(self.values))


def _number(tensor):
    return float(ops.convert_to_numpy(tensor))

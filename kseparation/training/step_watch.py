"""What is learned from watching a step: where its values stop being finite, and what its gradient is at any place of it."""

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras

from kseparation.training.float_tensors import (
    all_finite,
    can_be_seen,
    float_tensors,
    gradients,
    largest,
    replace_float_tensors,
    smallest,
)
from kseparation.training.layer_watch import watched_layers
from kseparation.training.operation_watch import OperationWatch, calling_line


@dataclass(frozen=True)
class Operation:
    """One call of an operation.

    Args:
        name: of the function of `keras.ops`, None where a value that is not finite was there first and nothing tells what made it.
        place: `file:line` of the call.
        largest: largest finite magnitude of its inputs.
        smallest: smallest magnitude of its inputs.
    """

    name: str | None
    place: str | None
    largest: float = 0.0
    smallest: float = 0.0


@dataclass
class Call:
    """One call of a layer, or what stands for one: the evaluation of a loss.

    Args:
        key: path and the number of calls of that path before this one.
        layer: the layer; None for a loss.
        inside: key of the call that made it; None at the outermost.
    """

    key: tuple
    layer: keras.layers.Layer | None
    inside: tuple | None
    takes_finite: bool = True
    gives_finite: bool = True
    scale: float = 0.0
    largest: float = 0.0
    smallest: float = 0.0
    operation: Operation | None = None


class StepWatch:
    """Follows the calls of layers and operations while it is open; what is done at each is up to subclasses.

    Args:
        model: whose layers are followed.
        kinds: as for `OperationWatch`.
    """

    def __init__(self, model: keras.Model, kinds: tuple[type, ...] = ()):
        self.model = model
        self.current = None
        self._counts = Counter()
        self._operations = OperationWatch(self._operation, kinds)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._stack.enter_context(watched_layers(self.model, self._layer))
        self._stack.enter_context(self._operations)
        return self

    def __exit__(self, *error):
        self._stack.close()

    @contextlib.contextmanager
    def part(self, name: str):
        """Opens a context in which what is computed counts as one call, that of the loss of this name."""
        call = self._entered(name, None)
        outer, self.current = self.current, call
        try:
            yield call
        finally:
            self.current = outer

    def _entered(self, path, layer):
        return Call(self._number(path), layer, self.current and self.current.key)

    def _number(self, *name):
        self._counts[name] += 1
        return (*name, self._counts[name] - 1)

    def _layer(self, layer, path, function, args, kwargs):
        if not self._operations.sees:
            return function(*args, **kwargs)
        call = self._entered(path, layer)
        with self._operations.aside():
            args, kwargs = self.enter(call, args, kwargs)
        outer, self.current = self.current, call
        try:
            outputs = function(*args, **kwargs)
        finally:
            self.current = outer
        with self._operations.aside():
            return self.leave(call, args, kwargs, outputs)

    def _operation(self, name, function, args, kwargs):
        return function(*args, **kwargs) if self.current is None else self.operate(name, function, args, kwargs)

    def enter(self, call: Call, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Returns the arguments that a layer is called with."""
        return args, kwargs

    def leave(self, call: Call, args: tuple, kwargs: dict, outputs: Any) -> Any:
        """Returns what the caller of a layer gets."""
        return outputs

    def operate(self, name: str, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Makes the call of an operation."""
        return function(*args, **kwargs)


class ValueWatch(StepWatch):
    """Looks at every value of a forward pass: `calls` are all calls of layers in their order."""

    def __init__(self, model: keras.Model):
        super().__init__(model)
        self.calls = []

    def enter(self, call, args, kwargs):
        self.calls.append(call)
        call.takes_finite = all_finite((args, kwargs))
        if not call.takes_finite:
            self._seen_first()
        return args, kwargs

    def leave(self, call, args, kwargs, outputs):
        call.scale = largest(outputs, finite_only=False)
        call.gives_finite = all_finite(outputs)
        if not call.gives_finite:
            own = [call.layer.weights] if call.layer is not self.model else []
            call.largest, call.smallest = largest((args, kwargs, own)), smallest((args, kwargs))
        return outputs

    def operate(self, name, function, args, kwargs):
        outputs = function(*args, **kwargs)
        call, inputs = self.current, float_tensors((args, kwargs))
        if call.operation is None and inputs and not all_finite(outputs):
            if all_finite(inputs):
                call.operation = Operation(name, calling_line(), largest(inputs), smallest(inputs))
            else:
                self._seen_first()
        return outputs

    def _seen_first(self):
        """What is not finite came from where nothing is seen: between the operations before and this one."""
        if self.current is not None and self.current.operation is None:
            self.current.operation = Operation(None, calling_line())


@dataclass
class _Probed:
    """A place with probes: those of its inputs come first."""

    inputs: int
    tensors: list
    layer: keras.layers.Layer | None = None
    found: Operation = field(default_factory=lambda: Operation(None, None))


class ProbeWatch(StepWatch):
    """Adds zeros to the inputs and outputs of chosen calls, whose gradients are those of the values there.

    Opened first without probes, it notes where they will go.

    Args:
        model: whose layers are followed.
        inside: key of the call whose calls of layers, or else operations, are chosen.
        layers: whether layers or operations are chosen.
        places: what an opening without probes has noted as `places`.
        probes: the zeros in the order of `zeros(places)`.
    """

    def __init__(self, model: keras.Model, inside: tuple, layers: bool, places: dict | None = None, probes: list | None = None):
        super().__init__(model, tuple({type(probe) for probe in probes or []}))
        self.inside, self.layers = inside, layers
        self.notes = places is None
        self.places = {} if self.notes else places
        counts = [len(place.tensors) for place in self.places.values()]
        starts = [sum(counts[:index]) for index in range(len(counts))]
        self._probes = {} if probes is None else {key: probes[start : start + count] for key, start, count in zip(self.places, starts, counts, strict=True)}

    def enter(self, call, args, kwargs):
        if not self.layers or call.inside != self.inside or self.notes:
            return args, kwargs
        return self._added(call.key, (args, kwargs), 0)

    def leave(self, call, args, kwargs, outputs):
        if not self.layers or call.inside != self.inside:
            return outputs
        if self.notes:
            self._note(call.key, (args, kwargs), outputs, call.layer, call.key[0], None)
            return outputs
        return self._added(call.key, outputs, None)

    def operate(self, name, function, args, kwargs):
        if self.layers or self.current.key != self.inside:
            return function(*args, **kwargs)
        place = calling_line()
        key = self._number(self.inside, name, place)
        # An operation takes what a variable holds for the variable itself, and that can be added to.
        args, kwargs = replace_float_tensors((args, kwargs), lambda _, tensor: tensor)
        if self.notes:
            outputs = function(*args, **kwargs)
            self._note(key, (args, kwargs), outputs, None, name, place)
            return outputs
        args, kwargs = self._added(key, (args, kwargs), 0)
        return self._added(key, function(*args, **kwargs), None)

    def _note(self, key, inputs, outputs, layer, name, place):
        given, made = float_tensors(inputs), float_tensors(outputs)
        if given and made and can_be_seen((given, made)):
            found = Operation(name, place, largest(given), smallest(given))
            self.places[key] = _Probed(len(given), [(tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)) for tensor in (*given, *made)], layer, found)

    def _added(self, key, nest, start):
        probes = self._probes.get(key, [])
        if not probes:
            return nest
        count = self.places[key].inputs
        mine = probes[:count] if start == 0 else probes[count:]

        def sum_of(place, tensor):
            fits = place < len(mine) and tuple(mine[place].shape) == tuple(tensor.shape)
            return tensor + mine[place] if fits else tensor

        return replace_float_tensors(nest, sum_of)


def faulty_places(model: keras.Model, run: Callable, tensors: list, inside: tuple, layers: bool, weights: list | None = None) -> list[tuple[tuple, Operation]]:
    """Returns the calls inside of another whose outputs have a finite gradient and whose inputs or weights have not: the key of each, and what it is. Last first.

    The gradient of a weight is that of all its uses, so that a layer is suspected too for what another call of it, or other code, does with its weights.

    Args:
        model: whose layers are followed.
        run: takes a list of tensors and a watch, opens it, computes with them and returns the scalar that is differentiated.
        tensors: what `run` takes.
        inside: key of the outer call.
        layers: whether layers or operations are looked at.
        weights: the variable that each of the tensors is the value of, where they are weights.
    """
    watch = ProbeWatch(model, inside, layers)
    run(tensors, watch)
    places = watch.places
    if not places:
        return []
    zeros = [keras.ops.zeros(shape, dtype) for place in places.values() for shape, dtype in place.tensors]

    def probed(leaves):
        own, probes = leaves[: len(tensors)], leaves[len(tensors) :]
        return run(own, ProbeWatch(model, inside, layers, places, probes))

    found = gradients(probed, [*tensors, *zeros])
    own = {id(variable): gradient for variable, gradient in zip(weights or [], found)}
    at_probes = iter(found[len(tensors) :])
    faulty = []
    for key, place in places.items():
        mine = [next(at_probes) for _ in place.tensors]
        of_weights = [own.get(id(variable)) for variable in place.layer.trainable_variables] if place.layer is not None else []
        if all_finite(mine[place.inputs :]) and not all_finite([mine[: place.inputs], of_weights]):
            faulty.insert(0, (key, place.found))
    return faulty

"""All numbers of a training as named arrays, and back."""

import re

import keras
import numpy as np

from kseparation.errors import UserError

# Variables of the optimizer that older states do not have: of `StepRecord`, whose length is a setting, of `RecoverableRate`, and what only the next look at a step reads.
RECORD = ("recorded_steps", "recorded_gradients", "recorded_updates")
RATE = ("rate_factor", "rate_changed_at")
LOOK = ("sound",)


def _variables(model):
    # Seed generators are among `variables`; metrics are not, for every epoch begins them anew.
    named = [("model", variable) for variable in model.variables] + [("optimizer", variable) for variable in model.optimizer.variables]
    # Paths may repeat; the position makes the name unique and the order fixed.
    return {f"{index:05d}/{kind}/{variable.path}": variable for index, (kind, variable) in enumerate(named)}


def read_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns weights, statistics, seeds and optimizer state of a built and compiled model by name."""
    return {name: _copy(variable) for name, variable in _variables(model).items()}


def _copy(variable):
    values = np.asarray(keras.ops.convert_to_numpy(variable))
    # Some backends give a view of their own memory, into which a later step may write.
    return values if values.flags.owndata else values.copy()


def write_state(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Sets everything that `read_state` returned.

    The record of the last steps and the factor of the learning rate begin anew where the state is older than they are, and the record where it is of another length: no later step depends on it.

    Raises:
        UserError: the arrays are not those of this model; nothing has been set then.
    """
    given, given_besides = _apart(arrays)
    wanted, besides = _apart(_variables(model))
    # Together: rows of one without those of the other would be another record.
    if any(name not in given_besides or given_besides[name].shape != tuple(besides[name].shape) for name in RECORD if name in besides):
        given_besides = {name: value for name, value in given_besides.items() if name not in RECORD}
    given_besides = {name: value for name, value in given_besides.items() if name not in RECORD or name in besides}
    missing = [name for name in wanted if name not in given]
    extra = [name for name in (*given, *given_besides) if name not in wanted and name not in besides]
    if missing or extra:
        raise UserError(f"The checkpoint is of another model or optimizer. Missing: {missing[:3] or 'none'}; unexpected: {extra[:3] or 'none'}. Start a new run.")
    pairs = [(name, variable, given[name]) for name, variable in wanted.items()]
    pairs += [(name, besides[name], value) for name, value in given_besides.items()]
    for name, variable, value in pairs:
        if tuple(variable.shape) != value.shape:
            raise UserError(f"The checkpoint is of another model: `{name}` has shape {value.shape}, required {tuple(variable.shape)}. Start a new run.")
    for _, variable, value in pairs:
        variable.assign(value)
    for name in RECORD:
        if name in besides and name not in given_besides:
            besides[name].assign(np.zeros(tuple(besides[name].shape), "float32"))
    if any(name in besides and name not in given_besides for name in RATE):
        model.optimizer.recoverable_rate.reset()


def comparable(arrays: dict[str, np.ndarray]) -> dict[str, tuple[str, np.ndarray]]:
    """Returns name and values of the arrays of a state, by keys that agree between states of the same model, of older versions of this package too."""
    all_have, besides = _apart({name: (name, values) for name, values in arrays.items()})
    return {**all_have, **{name: pair for name, pair in besides.items() if name in RATE}}


def _apart(named):
    """Returns what every state has, by its position among them and the last part of its path without the numbers that Keras gives to the models of a process in turn; and those that older states do not have."""
    all_have, besides = {}, {}
    for name in sorted(named):  # by position
        last = re.sub(r"_\d+", "", name.rsplit("/", 1)[-1])
        if last in (*RECORD, *RATE, *LOOK) and "/optimizer/" in name:
            besides[last] = named[name]
        else:
            all_have[f"{len(all_have):05d}/{last}"] = named[name]
    return all_have, besides

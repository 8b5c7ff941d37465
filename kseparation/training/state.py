"""All numbers of a training as named arrays, and back."""

import re

import keras
import numpy as np

from kseparation.errors import UserError


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

    Raises:
        UserError: the arrays are not those of this model; nothing has been set then.
    """
    variables = _variables(model)
    given = {_identity(name): value for name, value in arrays.items()}
    wanted = {_identity(name): variable for name, variable in variables.items()}
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if missing or extra:
        raise UserError(f"The checkpoint is of another model or optimizer. Missing: {missing[:3] or 'none'}; unexpected: {extra[:3] or 'none'}. Start a new run.")
    for name, variable in wanted.items():
        if tuple(variable.shape) != given[name].shape:
            raise UserError(f"The checkpoint is of another model: `{name}` has shape {given[name].shape}, required {tuple(variable.shape)}. Start a new run.")
    for name, variable in wanted.items():
        variable.assign(given[name])


def _identity(name):
    """Position and last part of the path, without the numbers that Keras gives to the models of a process in turn."""
    return name.split("/", 1)[0] + "/" + re.sub(r"_\d+", "", name.rsplit("/", 1)[-1])

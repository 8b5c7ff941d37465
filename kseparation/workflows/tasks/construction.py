"""From a component of a config to an object."""

import inspect
from collections.abc import Mapping
from typing import Any

from kseparation.config.arguments import check_arguments
from kseparation.config.records import ComponentConfig
from kseparation.errors import UserError


def construct(constructor: type, component: ComponentConfig, provided: Mapping[str, Any]):
    """Builds a component from its config and what the run provides, from its preset where one is named.

    Raises:
        UserError: an argument is unknown or its value refused.
    """
    arguments = dict(component.arguments)
    preset = arguments.pop("preset", None)
    arguments = {**check_arguments(constructor, arguments, component.place, tuple(provided)), **provided}
    try:
        return constructor(**arguments) if preset is None else constructor.from_preset(preset, **arguments)
    except (ValueError, UserError) as error:
        raise UserError(f"{component.place}: {error}") from error


def construct_dataset(task):
    """Builds the data set of a task from `data`, with what stands there beside its own arguments."""
    data = task.config.data
    constructor = task.datasets[data.name]
    taken = inspect.signature(constructor).parameters
    if data.root is not None and "root" not in taken:
        raise UserError(f"{data.place.below('root')} does not go with the data set `{data.name}`, which has no file or folder of yours. Received: {data.root}. Leave it out, or choose another data set.")
    if data.root is None and "root" in taken and taken["root"].default is inspect.Parameter.empty:
        raise UserError(f"{data.place.below('root')} is required for the data set `{data.name}`. Received: null. Give its file or folder.")
    provided = {key: getattr(data, key) for key in task.set_by_data if key in taken}
    arguments = check_arguments(constructor, data.arguments, data.place, tuple(provided))
    try:
        return constructor(**arguments, **provided)
    except ValueError as error:
        raise UserError(f"{data.place}: {error}") from error

"""The annotated constructor is the schema: arguments from a config are held against its signature."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from kseparation.config.places import Place, Problems, join_key
from kseparation.config.wording import requirement
from kseparation.errors import did_you_mean

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_arguments(
    constructor: Callable[..., Any],
    arguments: Mapping[str, Any],
    where: Place | str,
    provided: Collection[str] = (),
    problems: Problems | None = None,
    handled: Collection[str] = (),
) -> dict[str, Any]:
    """Checks arguments from a config against the named, annotated parameters of a constructor.

    `**kwargs` of the constructor are not open to a config: a misspelt name would pass through them unseen.

    Args:
        constructor: class or function that will be called.
        arguments: values as YAML gives them; a list is accepted for a tuple, a whole number for a float.
        where: place of the component in its config, usually `ComponentConfig.place`.
        provided: parameters that the caller fills in itself: not required here, and refused in a config.
        problems: takes what is wrong, for a report together with other components; without it a `UserError` is raised
            at once.
        handled: further names that a config may use here and the caller has taken out already; they are suggested.

    Returns:
        The arguments in the types of the annotations; defaults are not filled in.

    Raises:
        UserError: an argument is unknown, missing or of the wrong type, and `problems` is not given.

    Example:

    >>> def gain(low: float, high: float = 1.0): ...
    >>> check_arguments(gain, {"low": 1}, "`augment.0`")
    {'low': 1.0}
    """
    found = Problems() if problems is None else problems
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(constructor, eval_str=True).parameters.items()
        if parameter.kind in _NAMED and name not in provided
    }
    known = where.known_keys if isinstance(where, Place) else ()
    checked = {}
    for name, value in arguments.items():
        place = _below(where, name)
        if name in parameters:
            _check_value(parameters[name], value, place, checked, found)
        elif name in provided:
            found.add(place, "is set by the run itself. Remove it.")
        else:
            found.add(
                place, f"is not an argument of `{constructor.__name__}`. {did_you_mean(name, dict.fromkeys([*parameters, *handled, *known]))}"
            )
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            found.add(where, f"lacks `{name}`, which `{constructor.__name__}` requires.")
    if problems is None:
        found.raise_if_any()
    return checked


def _check_value(
    parameter: inspect.Parameter, value: Any, place: Place | str, checked: dict[str, Any], problems: Problems
) -> None:
    if parameter.annotation is inspect.Parameter.empty:
        checked[parameter.name] = value
        return
    try:
        adapter = TypeAdapter(parameter.annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
    except PydanticUserError as error:  # records and typed dictionaries have a config of their own
        if error.code != "type-adapter-config-unused":
            raise
        adapter = TypeAdapter(parameter.annotation)
    try:
        # Strict JSON rules are those wanted: a list is a tuple, an int a float, but true is no int and "1" no number.
        checked[parameter.name] = adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            inner = [part for part in details["loc"] if isinstance(part, int)]
            problems.add(_below(place, *inner), requirement(details))


def _below(where: Place | str, *parts: str | int) -> Place | str:
    if isinstance(where, Place):
        return where.below(*parts)
    return " ".join([where, f"`{join_key(*parts)}`"]) if parts else where

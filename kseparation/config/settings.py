"""Settings that belong together in one argument: a frozen dataclass in the code, a mapping with some of its keys in a config."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from kseparation.errors import did_you_mean

Settings = TypeVar("Settings")


def settings_of(record: type[Settings], given: Settings | Mapping[str, Any] | None, name: str) -> Settings:
    """Returns a record from a record, from a mapping with some of its keys, or from None for the defaults.

    Args:
        record: a dataclass.
        given: what the argument received.
        name: of the argument, for messages.

    Raises:
        ValueError: a key is unknown; the record itself raises where a value is out of its range.

    Example:

    >>> from kseparation.layers.code_revival import Revival
    >>> settings_of(Revival, {"rule": "off"}, "revival").rule
    'off'
    """
    if isinstance(given, record):
        return given
    names = [field.name for field in fields(record)]
    for key in given or {}:
        if key not in names:
            raise ValueError(f"`{name}.{key}` is not a setting of `{name}`. {did_you_mean(key, names)}")
    return record(**(given or {}))

"""The words in which a refused value is reported."""

from typing import Any

from pydantic_core import ErrorDetails

from kseparation.errors import did_you_mean


def requirement(details: ErrorDetails) -> str:
    """Rewords one of pydantic's errors: what is required, what was received, the nearest name."""
    kind, context, received = details["type"], details.get("ctx", {}), details["input"]
    required = {
        "model_type": "must be a mapping of keys to values",
        "dataclass_type": "must be a mapping of keys to values",
        "tuple_type": "must be a list",
        "list_type": "must be a list",
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be text",
        "too_short": "must not be empty",
        "string_too_short": "must not be empty",
        "string_pattern_mismatch": "must be letters, digits, `_` and `-`, and begin with a letter or a digit",
    }.get(kind) or details["msg"].replace("Input should", "must").replace("Value should", "must")
    text = f"{required}. Received: {_shown(received)}"
    if kind == "literal_error" and isinstance(received, str):
        options = [option.strip(" '") for option in context["expected"].replace(" or ", ", ").split(",")]
        text += f". {did_you_mean(received, options)}"
    return text


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

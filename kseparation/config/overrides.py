"""`--set a.b=value` on the tree of a config."""

from typing import Any

from kseparation.config.places import Problems
from kseparation.config.strict_yaml import Document, parse
from kseparation.errors import UserError


def apply_override(
    tree: dict[str, Any], sources: dict[str, str], override: str, defaults: dict[str, Any], problems: Problems
) -> None:
    """Sets one value in the tree.

    Args:
        tree: the config as parsed; changed in place.
        sources: the source of each dotted key; changed in place.
        override: `a.b=value`; the value is YAML.
        defaults: tree of the default config: what stands where the file has nothing, so that one argument of a default
            component can be set.
        problems: takes what is wrong; messages name the flag.
    """
    flag = f"--set {override}"
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        problems.add(flag, "must have the form `a.b=value`.")
        return
    try:
        document = parse(text, flag, problems, ".".join(parts), lines=False)
    except UserError as error:
        problems.add(error.args[0])
        return
    target: Any = tree
    default: Any = defaults
    for depth, part in enumerate(parts):
        place = f"{flag}: `{'.'.join(parts[: depth + 1])}`"
        last = depth == len(parts) - 1
        if isinstance(target, list):
            if not part.isdecimal() or len(part) > 9 or int(part) >= len(target):
                which = f"of {len(target)}, counted from 0" if target else f"that is not empty; give it whole: --set={'.'.join(parts[:depth])}=[...]"
                problems.add(place, f"must be an index of a list {which}. Received: {part}")
                return
            index: Any = int(part)
        elif isinstance(target, dict):
            index = part
        else:
            problems.add(
                place, f"does not exist: `{'.'.join(parts[:depth])}` is a value, not a mapping. Received: {target!r}"
            )
            return
        default = item_or_none(default, index)
        if last:
            _set(target, index, document, sources, ".".join(parts))
        elif isinstance(target, dict) and target.get(index) is None:
            target[index] = default if isinstance(default, (dict, list)) else {}
            sources[".".join(parts[: depth + 1])] = flag
        target = target[index]


def _set(target: Any, index: Any, document: Document, sources: dict[str, str], key: str) -> None:
    for old in [source for source in sources if source == key or source.startswith(key + ".")]:
        del sources[old]
    target[index] = document.value
    sources.update(document.sources)


def item_or_none(container: Any, index: Any) -> Any:
    """Returns an item of a mapping or list, or None where there is none."""
    try:
        return container[index]
    except (KeyError, IndexError, TypeError):
        return None

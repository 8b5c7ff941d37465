"""Config file and `--set` overrides -> RunConfig, with everything that is wrong reported at once."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kseparation.config.overrides import apply_override, item_or_none
from kseparation.config.places import Place, Problems, join_key
from kseparation.config.records import UNUSED_KEYS, ComponentConfig, DataConfig, LossConfig, OptimizerConfig, RunConfig
from kseparation.config.strict_yaml import MAX_CHARACTERS, dump, parse
from kseparation.config.wording import requirement
from kseparation.errors import UserError, did_you_mean

# Where a mapping is a component: its keys that are not fields of the record are arguments of what it names.
_COMPONENTS = {"data": DataConfig, "model": ComponentConfig, "training.optimizer": OptimizerConfig}
_COMPONENT_LISTS = {"augment": ComponentConfig, "loss": LossConfig, "inject": ComponentConfig}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a config file, applies overrides, and checks everything.

    Args:
        path: YAML file. An absent key has the default of its record; a component that is given replaces the default
            one entirely.
        overrides: `a.b=value` each, as given to `--set`; later ones win. List items go by index: `loss.0.weight=2`.

    Raises:
        UserError: the file cannot be read, or holds something that is not right; the message lists every problem with
            file and line (or flag), key, what is required and what was received.

    Example:

    ```python
    config = load_config("configs/demo/separation.yaml", ["training.batch_size=8"])
    ```
    """
    problems = Problems()
    document = parse(_read_text(Path(path)), str(path), problems)
    tree = {} if document.value is None else document.value
    if not isinstance(tree, dict):
        raise UserError(f"{path}:1: a config must be a mapping of keys to values. Received: {tree!r}")
    sources = dict(document.sources)
    defaults = _tree(RunConfig().model_dump())
    for override in overrides:
        apply_override(tree, sources, override, defaults, problems)
    config = _validate(tree, Place("", sources, str(path)), problems, str(path))
    problems.raise_if_any()
    return config


def dump_config(config: RunConfig) -> str:
    """Writes a config as YAML with every key, which `load_config` reads back to an equal record."""
    return dump(_file(config))


def flat_config(config: RunConfig) -> dict[str, Any]:
    """Returns every value of a config under the dotted key that `--set` knows it by: `loss.0.weight`."""
    return dict(_leaves(_file(config)))


def _file(config):
    """The tree of a file that says all that a config says."""
    tree = _tree(config.model_dump())
    for part, keys in UNUSED_KEYS.get(config.task, {}).items():
        for key in keys:
            del tree[part][key]
    return tree


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield key, value
        return
    for part, item in value.items():
        yield from _leaves(item, join_key(key, part))


def _tree(value: Any) -> Any:
    """Back to the form of the file: a component's arguments stand beside its name."""
    if isinstance(value, Mapping):
        rest = {key: _tree(item) for key, item in value.items() if key != "arguments"}
        return rest | value.get("arguments", {})
    if isinstance(value, (list, tuple)):
        return [_tree(item) for item in value]
    return value


def _read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(4 * MAX_CHARACTERS + 1)
    except FileNotFoundError:
        siblings = sorted(item.name for item in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f" {did_you_mean(path.name, siblings)}" if siblings else ""
        raise UserError(f"The config `{path}` does not exist.{hint}") from None
    except OSError as error:
        raise UserError(f"The config `{path}` must be a readable file: {error.strerror}.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"The config `{path}` must be UTF-8 text. Received: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from None


def _validate(tree: dict[str, Any], place: Place, problems: Problems, source: str) -> RunConfig | None:
    shaped = {"source": source} | tree
    if "source" in tree:  # a field of the record, not a key of the file
        problems.add(place.below("source"), f"is not a known key. {did_you_mean('source', _keys(RunConfig))}")
        shaped["source"] = source
    for key, record in _COMPONENTS.items():
        _shape(shaped, key.split("."), record, place)
    for key, record in _COMPONENT_LISTS.items():
        if isinstance(shaped.get(key), list):
            shaped[key] = list(shaped[key])
            for index in range(len(shaped[key])):
                _shape(shaped, [key, index], record, place)
    try:
        return RunConfig.model_validate(shaped)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["type"] != "finite_number":  # the parser has reported it
                _report(details, place, problems)
    return None


def _shape(tree: dict[str, Any], parts: list[Any], record: type[ComponentConfig], place: Place) -> None:
    """Moves the arguments of the component at `parts` under `arguments`.

    Copies what it changes. A value of another form is left as it is, to be refused.
    """
    for part in parts[:-1]:
        if isinstance(tree.get(part), dict):
            tree[part] = dict(tree[part])
        tree = tree.get(part)
    value = item_or_none(tree, parts[-1])
    if not isinstance(value, dict):
        return
    fields = _keys(record)
    tree[parts[-1]] = {key: item for key, item in value.items() if key in fields} | {
        "arguments": {key: item for key, item in value.items() if key not in fields},
        "place": replace(place.below(*parts), known_keys=tuple(fields)),
    }


def _keys(record: type) -> list[str]:
    """The keys that a file can have for a record."""
    return [name for name in record.model_fields if name not in ("arguments", "place", "source")]


def _report(details: ErrorDetails, place: Place, problems: Problems) -> None:
    parts = details["loc"]
    at = place.below(*parts)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        problems.add(at, f"is not a known key. {_near_keys(parts)}")
        return
    if kind == "missing":
        problems.add(at, "is required.")
        return
    if kind == "too_short" and details["input"]:
        return  # pydantic does not count items that it has refused, each of which has its own line
    if kind == "value_error":
        problems.add(at, f"{context['error']}.")
        return
    problems.add(at, requirement(details))


def _near_keys(parts: tuple[Any, ...]) -> str:
    """The hint for a key that does not belong where it stands: one that does and has nearly its name, else one that stands elsewhere, else all that do."""
    name, siblings = str(parts[-1]), _keys(_record_at(parts[:-1]))
    if not difflib.get_close_matches(name, siblings):
        elsewhere = {path.rsplit(".", 1)[-1]: path for path in _paths(RunConfig)}
        if near := difflib.get_close_matches(name, elsewhere, n=1, cutoff=0.8):
            return f"Did you mean `{elsewhere[near[0]]}`?"
    return did_you_mean(name, siblings)


def _paths(record: type, above: str = "") -> Iterator[str]:
    for key in _keys(record):
        yield above + key
        if hasattr(inner := record.model_fields[key].annotation, "model_fields"):
            yield from _paths(inner, f"{above}{key}.")


def _record_at(parts: tuple[Any, ...]) -> type:
    """The record whose key was refused."""
    record: Any = RunConfig
    for part in parts:
        if isinstance(part, str):
            record = record.model_fields[part].annotation
            record = _COMPONENT_LISTS.get(part, record)
    return record

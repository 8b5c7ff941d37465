"""YAML without its traps.

`1e-3` is a number, only true and false are booleans (`on`, `off`, `yes` and `no` are text), `1:30` is text, an equal
key twice is a problem, tags are refused, and neither aliases nor nesting nor size can exhaust the memory. Each value
keeps the line that it was written on.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

from kseparation.config.places import Place, Problems, join_key
from kseparation.errors import UserError

MAX_CHARACTERS = 1 << 18
MAX_VALUES = 20_000
MAX_DEPTH = 30
MAX_NUMBER_CHARACTERS = 40

# The core schema of YAML 1.2; PyYAML's own is that of YAML 1.1.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SCALARS = {"null": _NULL, "bool": _BOOLEAN, "int": _INTEGER, "float": _FLOAT}
_PREFIX = "tag:yaml.org,2002:"


def _use_core_schema(cls: type) -> type:
    cls.yaml_implicit_resolvers = {}
    for name, pattern in _SCALARS.items():
        cls.add_implicit_resolver(_PREFIX + name, re.compile(rf"(?:{pattern.pattern})\Z"), None)
    return cls


@_use_core_schema
class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=self.peek_event().start_mark
            )
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem=f"the tag `{event.tag}` is not allowed: plain values only", problem_mark=event.start_mark
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


@_use_core_schema
class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(data))


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None
    if not text.isprintable():
        style = '"'  # PyYAML writes some line separators unquoted and does not read them back
    elif any(pattern.match(text) for _, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], [])):
        style = "'"  # readers of YAML 1.1 take it for something else, as they take off for false
    return dumper.represent_scalar(_PREFIX + "str", text, style)


_Dumper.add_representer(str, _represent_text)


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Args:
        value: dict, list, str, int, float, bool or None.
        sources: where each dotted key was written.
    """

    value: Any
    sources: dict[str, str]


def parse(text: str, source: str, problems: Problems, key: str = "", lines: bool = True) -> Document:
    """Parses YAML text strictly.

    Args:
        text: the YAML.
        source: name of the file or flag, for messages.
        problems: takes repeated keys, keys that are not text, and numbers that are not finite.
        key: dotted key that the text is the value of; empty for a whole file.
        lines: whether messages carry the line; false for a flag.

    Raises:
        UserError: the text is not YAML at all, has a tag, or is too large; the message has line and column.
    """
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"`{source}` is too large for a config: at most {MAX_CHARACTERS} characters. Received: {len(text)}"
        )
    reader = _Reader(source, problems, lines)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if lines and mark else source
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{where}: not valid YAML: {what}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        where = f"{source}:{line}" if lines else source
        raise UserError(f"{where}: the character U+{ord(text[error.position]):04X} is not allowed in YAML.") from None
    value = None if node is None else reader.value(node, key, ())
    return Document(value, reader.sources)


def dump(value: Any) -> str:
    """Writes a value as YAML that `parse` reads back to an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


class _Reader:
    """Turns nodes into values. Aliases are expanded here, so here is where their number is bounded."""

    def __init__(self, source: str, problems: Problems, lines: bool) -> None:
        self._source, self._problems, self._lines = source, problems, lines
        self.sources: dict[str, str] = {}
        self._values = 0

    def value(self, node: yaml.Node, key: str, parents: tuple[yaml.Node, ...]) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or node in parents:
            raise UserError(
                f"{self._at(node)}: aliases may not refer to themselves, and a config has at most {MAX_VALUES} values "
                "once they are expanded."
            )
        self.sources.setdefault(key, self._at(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, (*parents, node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, join_key(key, index), (*parents, node)) for index, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: yaml.MappingNode, key: str, parents: tuple[yaml.Node, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag != _PREFIX + "str":
                self._problem(
                    key_node,
                    join_key(key, getattr(key_node, "value", "") or "?"),
                    "must have text as its key; quote it.",
                )
                continue
            name = key_node.value
            path = join_key(key, name)
            if name in result:
                self._problem(
                    key_node, path, f"is given twice; it stands already at {self.sources[path]}. Remove one of the two."
                )
                continue
            self.sources[path] = self._at(key_node)
            result[name] = self.value(value_node, path, parents)
        return result

    def _scalar(self, node: yaml.ScalarNode, key: str) -> Any:
        text, kind = node.value, node.tag.removeprefix(_PREFIX)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind not in ("int", "float"):
            return text
        if len(text) > MAX_NUMBER_CHARACTERS:
            self._problem(
                node,
                key,
                f"must be a number of at most {MAX_NUMBER_CHARACTERS} characters. Received: {len(text)} characters",
            )
            return None
        number = int(text) if kind == "int" else float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        if not math.isfinite(number):
            self._problem(node, key, f"must be a finite number. Received: {text}")
        return number

    def _at(self, node: yaml.Node) -> str:
        return f"{self._source}:{node.start_mark.line + 1}" if self._lines else self._source

    def _problem(self, node: yaml.Node, key: str, message: str) -> None:
        self._problems.add(Place(key, {key: self._at(node)}), message)

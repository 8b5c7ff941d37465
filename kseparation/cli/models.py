"""`models`: what can be trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.flags import Verb


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> list[dict[str, Any]]:
    from kseparation.workflows.models import list_models

    return list_models()


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Sets rows with equal keys as a table for a terminal: numbers to the right with thousands apart, lists with commas."""
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    numeric = [all(isinstance(row[name], (int, float)) for row in rows) for name in names]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    lines = []
    for line in (names, ["-" * width for width in widths], *cells):
        set_cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        lines.append("  ".join(set_cells).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


VERB = Verb("models", "Lists architectures and presets with their parameters.", lambda flags: None, _run, show=table)

"""Files of one JSON object a line, as a process that may be killed appends them."""

import contextlib
import json
from pathlib import Path
from typing import Any


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Reads the objects of a file; a damaged line, such as a killed process leaves at the end, is passed over.

    Args:
        path: the file; one that does not exist has no objects.

    Example:

    >>> read_json_lines("none.jsonl")
    []
    """
    path = Path(path)
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]

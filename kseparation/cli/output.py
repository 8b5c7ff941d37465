"""Standard output: one JSON value and nothing else with `--json`, and no complaint when its reader has gone."""

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def json_text(value: Any) -> str:
    """Returns a value as JSON on one line in ASCII, which every terminal and locale passes on; NaN and infinity become null, NumPy values numbers, paths text.

    Example:

    >>> json_text({"sdr": float("nan"), "out": Path("separated")})
    '{"sdr": null, "out": "separated"}'
    """
    text = json.dumps(value, default=_plain)
    return json.dumps(json.loads(text, parse_constant=lambda name: None))


def print_result(text: str) -> None:
    """Prints on standard output. A reader that has closed it, as `head` does, is no error."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        # What the terminal cannot show, such as a file name that is not UTF-8, is escaped.
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def standard_output_kept_clean() -> Iterator[None]:
    """Sends what anything prints on standard output, libraries in C included, to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C code has buffered would come out after the JSON
        os.dup2(saved, 1)
        os.close(saved)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"JSON cannot hold a {type(value).__name__}. Received: {value!r}")

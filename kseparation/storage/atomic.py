"""Files and folders that appear under their name only when they are complete and on the disk."""

import contextlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kseparation.errors import UserError, write_error

TEMPORARY_PREFIX = ".tmp-"
REPLACED_PREFIX = ".old-"


@contextlib.contextmanager
def explained_write_errors(path: str | Path) -> Iterator[None]:
    """Turns the system's refusal to write `path` into UserError (wrong place) or MachineError (disk full, failing).

    An error about another file, such as an input that cannot be read, passes unchanged.

    Example:

    >>> with explained_write_errors("out"):
    ...     pass
    """
    try:
        yield
    except OSError as error:
        folder, named = str(Path(path).parent), error.filename
        if named is not None and not (str(named).startswith(folder) or folder.startswith(str(named))):
            raise
        raise write_error(path, error) from error


def require_writable(path: str | Path, flag: str = "--out") -> None:
    """Raises UserError where the file `path` could not be written, without writing: call it before long work.

    Args:
        path: the file.
        flag: which the user may change.

    Example:

    >>> require_writable("results/summary.json")
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"`{path}` is a folder where a file must be written. Choose another {flag}.")
    above = path.absolute().parent
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise UserError(f"`{path}` cannot be written: `{above}` is not a folder. Choose another {flag}.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"`{path}` cannot be written: no permission to write in `{above}`. Choose another {flag}.")


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; what was written there takes the name `path` on a clean exit.

    A process that dies at any moment leaves the old file or the new one, complete. An exception leaves the old one.

    Args:
        path: the file; missing folders are created.

    Example:

    >>> import tempfile
    >>> with atomic_file(Path(tempfile.mkdtemp()) / "a.txt") as temporary:
    ...     _ = temporary.write_text("all of it")
    """
    path = Path(path)
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`, which takes that name on a clean exit.

    Every file in it is on the disk before the name appears. A folder that has the name already is first moved aside as
    `.old-<name>` and deleted last, so that one of the two is complete at any moment.

    Args:
        path: the folder; missing parents are created.
    """
    path = Path(path)
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
        old = path.with_name(REPLACED_PREFIX + path.name)
        temporary.mkdir()
        try:
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    _sync(Path(folder) / name)
                _sync(Path(folder))
            if path.exists():
                if old.exists():
                    shutil.rmtree(old)
                os.rename(path, old)
            os.rename(temporary, path)
            _sync(path.parent)
            if old.exists():
                shutil.rmtree(old)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_temporary(folder: str | Path) -> None:
    """Deletes what killed writers left in `folder`. The caller must be the only writer there."""
    for path in Path(folder).glob(TEMPORARY_PREFIX + "*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically; bytes of a file name that are none come out as `\\udc..`, which JSON reads back."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as JSON, atomically: two spaces of indent, keys in the order given, null for NaN and infinity.

    Args:
        path: the file.
        value: mappings, sequences, strings, numbers (NumPy's too), booleans, paths and None, nested.

    Example:

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(file, {"loss": float("nan"), "epoch": 3})
    >>> read_json(file)
    {'loss': None, 'epoch': 3}
    """
    write_text_atomic(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"`{path}` cannot be read: {error.strerror}. Check the path.") from None
    except ValueError as error:  # wrong UTF-8 and wrong JSON
        raise UserError(f"`{path}` is not valid JSON. Received: {error}. Restore or delete the file.") from None


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: NaN and infinity as None, NumPy's values as Python's, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

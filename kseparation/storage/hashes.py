"""Hashes by which a file proves that it is what was written."""

import hashlib
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal, read in blocks.

    Example:

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "empty"
    >>> file.touch()
    >>> file_sha256(file)[:8]
    'e3b0c442'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

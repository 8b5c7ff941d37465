"""Checkpoints that are whole or not there, each file proven by its hash before it is used."""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kseparation.errors import UserError
from kseparation.storage.arrays import read_arrays, write_arrays
from kseparation.storage.atomic import (
    REPLACED_PREFIX,
    TEMPORARY_PREFIX,
    atomic_folder,
    explained_write_errors,
    read_json,
    remove_temporary,
    write_json,
)
from kseparation.storage.hashes import file_sha256

ARRAYS_FILE, PROGRESS_FILE, MANIFEST_FILE = "state.npz", "progress.json", "MANIFEST.json"
FORMAT_VERSION = 1
# The prefix is left by a process killed while it replaced a checkpoint.
_NAME = re.compile(rf"({re.escape(REPLACED_PREFIX)})?(\d+)")

logger = logging.getLogger("kseparation")


@dataclass(frozen=True)
class Checkpoint:
    """State of a training: `arrays` (weights, optimizer, ...) and `progress` (JSON values) after `step` steps."""

    step: int
    arrays: dict[str, np.ndarray]
    progress: dict[str, Any]
    path: Path


class CheckpointStore:
    """Saves and finds the checkpoints of one run, `<folder>/<step>/{state.npz, progress.json, MANIFEST.json}`.

    A checkpoint gets its name after all its files are on the disk and were read back with the right hash; only then are
    older ones deleted. The store expects to be the only writer of its folder (see RunLock).

    Args:
        folder: usually `<run>/checkpoints`; created by the first save.
        keep: how many of the newest checkpoints stay, from 1. Defaults to 3.
        keep_every: checkpoints whose step is a multiple of it stay too, from 1; None keeps no others.
        count_every: checkpoints whose step is no multiple of it, from 1, do not count towards `keep`, and go with the next save once two sound ones are left; None counts all.

    Example:

    >>> import tempfile
    >>> store = CheckpointStore(tempfile.mkdtemp())
    >>> _ = store.save(100, {"kernel": np.ones((2, 3), "float32")}, {"epoch": 1})
    >>> latest = store.load_latest()
    >>> latest.step, latest.arrays["kernel"].shape, latest.progress
    (100, (2, 3), {'epoch': 1})
    """

    def __init__(self, folder: str | Path, keep: int = 3, keep_every: int | None = None, count_every: int | None = None) -> None:
        for name, value in (("keep", keep), ("keep_every", keep_every), ("count_every", count_every)):
            if value is not None and value < 1:
                raise UserError(f"`{name}` must be at least 1. Received: {name}={value}.")
        self.folder, self.keep, self.keep_every, self.count_every = Path(folder), keep, keep_every, count_every

    def save(self, step: int, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any], retain: Collection[int] = (), delete: bool = True) -> Path:
        """Writes one checkpoint, replacing one of the same step, and deletes later ones and those that nothing keeps.

        The newest `keep` that count stay, multiples of `keep_every`, and the steps of `retain`. Later ones belong to a course that was left.

        Args:
            step: number of training steps done, from 0; the name of the folder.
            arrays: by name; any NumPy number type. Names may contain slashes.
            progress: JSON values; NaN and infinity become null.
            retain: steps whose checkpoints stay besides, such as that of the best model; it holds for this save only.
            delete: whether others go; where not, they wait for a later save.

        Returns:
            The folder of the checkpoint.
        """
        if step < 0:
            raise UserError(f"`step` must not be negative. Received: step={step}.")
        path = self.folder / str(step)
        with explained_write_errors(path):
            remove_temporary(self.folder)
            with atomic_folder(path) as temporary:
                write_arrays(temporary / ARRAYS_FILE, arrays)
                write_json(temporary / PROGRESS_FILE, progress)
                _write_manifest(temporary, step)
                if fault := _fault(temporary, step):
                    raise OSError(5, f"what was written does not read back ({fault})")
            if delete:
                self._delete_old(step, frozenset(retain))
        return path

    def load_latest(self) -> Checkpoint | None:
        """Returns the newest checkpoint that verifies, or None; a damaged one is named in a warning and passed over."""
        for step, path in self._candidates():
            if fault := _fault(path, step):
                logger.warning("Checkpoint `%s` is damaged (%s) and is passed over.", path, fault)
            else:
                return _load(path, step)
        return None

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, where the training returns to before them."""
        for other, path in self._candidates():
            if other > step:
                _remove(path)

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, ascending, verified or not."""
        return sorted({step for step, _ in self._candidates()})

    def _candidates(self) -> list[tuple[int, Path]]:
        """Returns (step, folder), newest first, a replaced folder after the one that replaced it."""
        if not self.folder.is_dir():
            return []
        named = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir() if path.is_dir()]
        found = [(int(match[2]), match[1] is None, path) for match, path in named if match]
        return [(step, path) for step, _, path in sorted(found, reverse=True)]

    def _delete_old(self, saved: int, retain: Collection[int]) -> None:
        # Files of full length count, and of the two that are never gone below the hashes too: they are not computed for each old checkpoint at each save.
        others = [(step, path) for step, path in self._candidates() if step != saved]
        whole, counted = [saved], int(self._counts(saved))
        for step, path in sorted(others, key=lambda other: not self._counts(other[0])):  # what does not count comes last
            enough = counted >= self.keep if self._counts(step) else len(whole) >= min(self.keep, 2)
            if step > saved or step in whole or (enough and not self._stays(step, retain)):
                _remove(path)
            elif not _fault(path, step, hashes=len(whole) < 2):
                whole.append(step)
                counted += self._counts(step)

    def _counts(self, step: int) -> bool:
        return self.count_every is None or step % self.count_every == 0

    def _stays(self, step: int, retain: Collection[int]) -> bool:
        return step in retain or (self.keep_every is not None and step % self.keep_every == 0)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Returns the checkpoint in one folder, as chosen by hand.

    Args:
        path: `<run>/checkpoints/<step>`.

    Raises:
        UserError: there is none, or it is damaged; what is wrong is named.
    """
    path = Path(path)
    match = _NAME.fullmatch(path.name)
    if not match or not path.is_dir():
        raise UserError(f"`{path}` is not a checkpoint: a folder `checkpoints/<step>` of a run is required.")
    if fault := _fault(path, int(match[2])):
        raise UserError(f"`{path}` is damaged: {fault}. Choose another checkpoint.")
    return _load(path, int(match[2]))


def _write_manifest(folder: Path, step: int) -> None:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
        for name in (ARRAYS_FILE, PROGRESS_FILE)
    }
    write_json(folder / MANIFEST_FILE, {"format": FORMAT_VERSION, "step": step, "files": files})


def _remove(path: Path) -> None:
    # Killed meanwhile it leaves a temporary, and no half of a checkpoint under the name of a whole one.
    with contextlib.suppress(OSError):
        path = path.rename(path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}-{secrets.token_hex(4)}"))
    shutil.rmtree(path, ignore_errors=True)


def _fault(folder: Path, step: int, hashes: bool = True) -> str | None:
    """Returns what is wrong with a checkpoint, or None."""
    try:
        manifest = read_json(folder / MANIFEST_FILE)
        if (manifest["format"], manifest["step"]) != (FORMAT_VERSION, step):
            return f"{MANIFEST_FILE} belongs to another checkpoint"
        expected = {name: (manifest["files"][name]["bytes"], manifest["files"][name]["sha256"]) for name in (ARRAYS_FILE, PROGRESS_FILE)}
    except (UserError, KeyError, TypeError):
        return f"{MANIFEST_FILE} is missing or unreadable"
    for name, (size, sha256) in expected.items():
        file = folder / name
        try:
            if not file.is_file():
                return f"{name} is missing"
            # Which of the two files is damaged cannot be known.
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}, as {MANIFEST_FILE} has it"
            if hashes and file_sha256(file) != sha256:
                return f"{name} does not match its hash in {MANIFEST_FILE}"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def _load(path: Path, step: int) -> Checkpoint:
    return Checkpoint(step, read_arrays(path / ARRAYS_FILE), json.loads((path / PROGRESS_FILE).read_text(encoding="utf-8")), path)

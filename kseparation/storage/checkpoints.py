"""Checkpoints that are whole or not there, each file proven by its hash before it is used."""

import json
import logging
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kseparation.errors import UserError
from kseparation.storage.atomic import (
    REPLACED_PREFIX,
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

    Example:

    >>> import tempfile
    >>> store = CheckpointStore(tempfile.mkdtemp())
    >>> _ = store.save(100, {"kernel": np.ones((2, 3), "float32")}, {"epoch": 1})
    >>> latest = store.load_latest()
    >>> latest.step, latest.arrays["kernel"].shape, latest.progress
    (100, (2, 3), {'epoch': 1})
    """

    def __init__(self, folder: str | Path, keep: int = 3) -> None:
        if keep < 1:
            raise UserError(f"`keep` must be at least 1. Received: keep={keep}.")
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, arrays: Mapping[str, np.ndarray], progress: Mapping[str, Any]) -> Path:
        """Writes one checkpoint, replacing one of the same step, and deletes later ones and the oldest beyond `keep`.

        Args:
            step: number of training steps done, from 0; the name of the folder.
            arrays: by name; any NumPy number type. Names may contain slashes.
            progress: JSON values; NaN and infinity become null.

        Returns:
            The folder of the checkpoint.
        """
        if step < 0:
            raise UserError(f"`step` must not be negative. Received: step={step}.")
        path = self.folder / str(step)
        with explained_write_errors(path):
            remove_temporary(self.folder)
            with atomic_folder(path) as temporary:
                _write_arrays(temporary / ARRAYS_FILE, arrays)
                write_json(temporary / PROGRESS_FILE, progress)
                _write_manifest(temporary, step)
                if fault := _fault(temporary, step):
                    raise OSError(5, f"what was written does not read back ({fault})")
            self._delete_old(step)
        return path

    def load_latest(self) -> Checkpoint | None:
        """Returns the newest checkpoint that verifies, or None; a damaged one is named in a warning and passed over."""
        for step, path in self._candidates():
            if fault := _fault(path, step):
                logger.warning("Checkpoint `%s` is damaged (%s) and is passed over.", path, fault)
            else:
                return _load(path, step)
        return None

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

    def _delete_old(self, saved: int) -> None:
        # Full-length files count; the hashes of old checkpoints are not computed again at each save. A later step than the
        # saved one belongs to a course that was left when an older checkpoint was resumed.
        others = [(step, path) for step, path in self._candidates() if step != saved]
        whole = 1
        for step, path in others:
            if whole >= self.keep or step > saved:
                shutil.rmtree(path, ignore_errors=True)
            elif not _fault(path, step, hashes=False):
                whole += 1


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


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    # np.savez takes the names as keyword arguments, where `file` is its own, and would pickle objects.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            array = np.asarray(array)
            if array.dtype.kind not in "biufcUS":  # objects, and bfloat16, which NumPy reads back as bytes
                raise UserError(
                    f"Array `{name}` must be of a plain NumPy number type. Received: dtype={array.dtype}. "
                    "Convert it to float32 first."
                )
            with archive.open(name + ".npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _write_manifest(folder: Path, step: int) -> None:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
        for name in (ARRAYS_FILE, PROGRESS_FILE)
    }
    write_json(folder / MANIFEST_FILE, {"format": FORMAT_VERSION, "step": step, "files": files})


def _fault(folder: Path, step: int, hashes: bool = True) -> str | None:
    """Returns what is wrong with a checkpoint, or None."""
    try:
        manifest = read_json(folder / MANIFEST_FILE)
        if (manifest["format"], manifest["step"]) != (FORMAT_VERSION, step):
            return f"{MANIFEST_FILE} belongs to another checkpoint"
        for name in (ARRAYS_FILE, PROGRESS_FILE):
            entry, file = manifest["files"][name], folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {entry['bytes']}"
            if hashes and file_sha256(file) != entry["sha256"]:
                return f"{name} does not match its hash"
    except (UserError, KeyError, TypeError, OSError):
        return f"{MANIFEST_FILE} is missing or unreadable"
    return None


def _load(path: Path, step: int) -> Checkpoint:
    with np.load(path / ARRAYS_FILE, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return Checkpoint(step, arrays, json.loads((path / PROGRESS_FILE).read_text(encoding="utf-8")), path)

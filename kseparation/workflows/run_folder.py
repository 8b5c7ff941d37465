"""Names of run folders, and which run a command continues."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kseparation.config.loading import dump_config, flat_config, load_config
from kseparation.config.records import RunConfig
from kseparation.errors import MachineError, UserError, did_you_mean

CONFIG_FILE = "config.yaml"
SUMMARY_FILE = "summary.json"
CHECKPOINTS = "checkpoints"
RESUME = ("auto", "never", "must")


@dataclass(frozen=True)
class RunChoice:
    """The folder to work in and whether a training in it goes on or has ended."""

    folder: Path
    resumes: bool = False
    finished: bool = False


def _is_run(folder):
    return (folder / CONFIG_FILE).is_file()


def _finished(folder):
    return (folder / SUMMARY_FILE).is_file()


def _same_config(folder, config):
    return (folder / CONFIG_FILE).read_text(encoding="utf-8") == dump_config(config)


def _numbered_runs(parent, stem):
    pattern = re.compile(re.escape(stem) + r"-(\d+)$")
    matches = [(int(match.group(1)), folder) for folder in parent.glob(f"{glob.escape(stem)}-*") if (match := pattern.match(folder.name))]
    return sorted(matches)


def choose_run(config: RunConfig, backend: str, run_dir: str | Path | None, resume: str, parent: Path = Path("runs")) -> RunChoice:
    """Decides which folder a `train` command works in.

    Without `run_dir` the newest unfinished run of the same config and backend goes on, else `<parent>/<config name>-<backend>-<n>` is begun. With `run_dir` that folder goes on
    or is begun.

    Args:
        config: the resolved config.
        backend: name of the Keras backend.
        run_dir: folder asked for, or None.
        resume: `auto`, `never` (always a new run), `must` (an error where there is nothing to go on with) or the path of a run folder.

    Raises:
        UserError: what was asked for is not there, or belongs to another config.
    """
    if resume not in RESUME:
        folder = Path(resume)
        if not _is_run(folder):
            what = "holds no run" if folder.is_dir() else "does not exist"
            raise UserError(f"`--resume` must be auto, never, must or a run folder, and this folder {what}. Received: {resume}. {did_you_mean(resume, RESUME)}")
        if run_dir is not None and Path(run_dir).resolve() != folder.resolve():
            raise UserError(f"`--resume` and `--run_dir` name two folders. Received: {resume} and {run_dir}. Give one of them.")
        return RunChoice(folder, resumes=True, finished=_finished(folder))
    if run_dir is not None:
        folder = Path(run_dir)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"`--run_dir` is not a folder. Received: {run_dir}")
        if _is_run(folder):
            if resume == "never":
                raise UserError(f"`--run_dir` already holds a run. Received: {run_dir}. Choose another folder, or let it go on with --resume=auto.")
            return RunChoice(folder, resumes=True, finished=_finished(folder))
    else:
        stem = f"{Path(config.source).stem or config.task}-{backend}"
        runs = _numbered_runs(parent, stem)
        if resume != "never":
            for _, folder in reversed(runs):
                if _is_run(folder) and not _finished(folder) and _same_config(folder, config):
                    return RunChoice(folder, resumes=True)
        folder = parent / f"{stem}-{runs[-1][0] + 1 if runs else 1}"
    if (folder / CHECKPOINTS).is_dir():
        raise UserError(f"`{folder}` has checkpoints but no {CONFIG_FILE} that says what they are of. Restore that file, or choose another --run_dir.")
    if _finished(folder):
        raise UserError(f"`{folder}` holds the {SUMMARY_FILE} of something else than a training. Choose another --run_dir.")
    if resume == "must":
        raise UserError(f"`--resume=must` found no unfinished run to go on with. Looked for: {folder}. Start one with --resume=auto.")
    return RunChoice(folder)


def check_still_chosen(choice: RunChoice) -> None:
    """Refuses to go on where another process began or ended the run between the choice and the lock.

    Raises:
        MachineError: the folder is no longer as it was.
    """
    now = (_is_run(choice.folder), _finished(choice.folder))
    if now != (choice.resumes, choice.finished):
        raise MachineError(f"Another process has just worked in `{choice.folder}`. Run the same command again, or choose another --run_dir.")


def check_same_config(folder: Path, config: RunConfig, allow: Sequence[str] = ()) -> list[str]:
    """Refuses to go on with a run under another config, for then neither its log nor its score would mean anything.

    Args:
        folder: of the run.
        config: asked for now.
        allow: dotted keys that may differ.

    Returns:
        The dotted keys that differ.

    Raises:
        UserError: keys differ that are not allowed to; each is listed with both values.
    """
    old, new = flat_config(load_config(folder / CONFIG_FILE)), flat_config(config)
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    refused = [key for key in changed if not any(key == name or key.startswith(name + ".") for name in allow)]
    if refused:
        for name in allow:  # where nothing is refused, a key may be gone since it was allowed
            if not any(key == name or key.startswith(name + ".") for key in {*old, *new}):
                raise UserError(f"`--allow` names no key of the config. Received: {name}. {did_you_mean(name, sorted({*old, *new}))}")
        listed = "; ".join(f"`{key}` was {old.get(key)!r}, now {new.get(key)!r}" for key in refused)
        raise UserError(f"The run `{folder}` was begun with another config: {listed}. Choose another --run_dir, or name the keys in --allow={','.join(refused)}.")
    return changed

"""The evidence of what went wrong in a training: one folder for each incident, which nothing but its own `replay` touches again."""

import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from kseparation.errors import UserError
from kseparation.storage.arrays import write_arrays
from kseparation.storage.atomic import (
    REPLACED_PREFIX,
    TEMPORARY_PREFIX,
    atomic_folder,
    explained_write_errors,
    plain,
    read_json,
    remove_temporary,
    write_json,
    write_text_atomic,
)
from kseparation.storage.checkpoints import MANIFEST_FILE as MANIFEST
from kseparation.storage.hashes import file_sha256
from kseparation.training.evidence import AT, BATCH, BEFORE, CONFIG, FACTS, PLAN, REPORT, STEPS, Incident
from kseparation.training.incident_report import report_text, steps_table
from kseparation.training.spikes import SpikeDetector
from kseparation.training.verdicts import EVENTS

INCIDENTS = "incidents"
# Further ones are only lines in the log: a fault that comes a thousand times is not told better by a thousand folders.
MOST_INCIDENTS = 30
# Of these the ones after which the training just went on, so that they leave room for those that made it return or end.
MOST_MINOR = 10
MINOR = ("none", "skip", "redraw", "report")
# Of the facts, those without which nothing can be replayed.
NEEDED = {"event": str, "action": str, "step": int, "reason": str, "micro_batches": list, "losses": list, "backend": str, "detours": list, "recovery": dict}
# All incidents of a run together; beyond that they hold no states of the training, which are the largest part. The first ones always do.
MOST_BYTES = 4 << 30
FIRST_WITH_STATES = 2
NO_ROOM = f"The states of the training are left out, because the incidents of this run take more than {MOST_BYTES >> 30} GB. Without them the step cannot be run again."
NOT_NEEDED = "The states of the training are left out: the batch could not be read, and no step was made of it."
NOT_GIVEN = "There are no states of the training here. Without them the step cannot be run again."


def has_room(run: str | Path, incident: Incident, returns: int = 0) -> bool:
    """Whether `write_incident` would write this incident: ask before its states are collected."""
    return _place(Path(run) / INCIDENTS, incident, returns) is not None


def count_incidents(run: str | Path) -> int | None:
    """Returns the number of incidents of a run, None where their folder cannot be read."""
    try:
        return len(_incidents(Path(run) / INCIDENTS))
    except OSError:
        return None


def clean_incidents(run: str | Path) -> None:
    """Removes what killed writers left among the incidents of a run; of a folder that was being replaced one is kept. For the start of a training, which is the only writer."""
    parent = Path(run) / INCIDENTS
    with explained_write_errors(parent):
        remove_temporary(parent)
        for old in parent.glob(REPLACED_PREFIX + "*"):
            name = old.with_name(old.name.removeprefix(REPLACED_PREFIX))
            if name.exists():
                shutil.rmtree(old)
            else:
                old.rename(name)


def write_incident(run: str | Path, incident: Incident, config_text: str, returns: int = 0) -> Path | None:
    """Writes the folder of an incident, `incidents/<step>/` of the run; returns it, or None where the run has enough of them.

    The name follows from what happened alone: a training that was killed and computes the step again replaces the folder by the same evidence.

    Args:
        run: folder of the run.
        incident: what is known.
        config_text: of the config of the run, as YAML.
        returns: how often the training had returned to an older state before; with any the folder is `<step>-<returns + 1>`. Another event of the same step gets `<step>-<event>`.
    """
    folder = _place(Path(run) / INCIDENTS, incident, returns)
    if folder is None:
        return None
    others = [folder.parent / name for name in _incidents(folder.parent) if name != folder.name]
    incident, words = _with_states_that_fit(incident, others, _has_states(folder))
    with atomic_folder(folder) as temporary:
        write_json(temporary / FACTS, _facts(incident))
        write_text_atomic(temporary / STEPS, steps_table(incident))
        write_text_atomic(temporary / CONFIG, config_text)
        write_text_atomic(temporary / REPORT, report_text(incident, folder) + (f"\n{words}\n" if words else ""))
        if incident.plan:
            write_json(temporary / PLAN, incident.plan)
        for name, arrays in ((BATCH, incident.batches), (BEFORE, incident.before), (AT, incident.at)):
            if arrays:
                write_arrays(temporary / name, arrays)
        files = [file for file in sorted(temporary.iterdir()) if file.name != REPORT]  # into that one the replay writes
        write_json(temporary / MANIFEST, {"format": 1, "files": {file.name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for file in files}})
    return folder


def check_incident(folder: str | Path) -> str | None:
    """Holds the files of an incident against its manifest; returns words where it has none, as those of older versions.

    Raises:
        UserError: a file is missing or is not what was written; it is named.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        return f"the incident has no {MANIFEST}: whether its files are what was written cannot be told"
    cure = f"Restore it from a copy; where it was changed on purpose, delete `{MANIFEST}`."
    manifest = read_json(folder / MANIFEST)
    try:
        expected = {name: (about["bytes"], about["sha256"]) for name, about in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"`{folder / MANIFEST}` is damaged: it lists no files with their hashes. {cure}") from None
    for name, (size, sha256) in expected.items():
        file = folder / name
        try:
            same = file.stat().st_size == size and file_sha256(file) == sha256
        except OSError as error:
            raise UserError(f"`{file}` of the incident cannot be read: {error.strerror}. {cure}") from None
        if not same:
            raise UserError(f"`{file}` of the incident is not what was written: it does not match its hash in {MANIFEST}. {cure}")
    return None


def read_facts(folder: str | Path) -> dict[str, Any]:
    """Returns what `incident.json` holds, the losses as numbers, and the number of `returns` before it.

    Raises:
        UserError: it is damaged; what is wrong is named.
    """
    path = Path(folder) / FACTS
    facts = read_json(path)
    cure = "Restore it from a copy, or replay another incident of the same run."
    if not isinstance(facts, dict):
        raise UserError(f"`{path}` must hold the facts of an incident by name. Received: {type(facts).__name__}. {cure}")
    wrong = [name for name, kind in NEEDED.items() if not isinstance(facts.get(name), kind)]
    if wrong or facts["event"] not in EVENTS:
        raise UserError(f"`{path}` is damaged: `{wrong[0] if wrong else 'event'}` is missing or wrong. {cure}")
    try:
        losses = [{name: value if name == "step" else float.fromhex(value) for name, value in row.items()} for row in facts["losses"]]
        batches = [{"position": int(batch["position"]), "draw": int(batch["draw"])} for batch in facts["micro_batches"]]
        returns, before_step = len(facts["recovery"]["returns"]), facts.get("before_step")
        before_step = None if before_step is None else int(before_step)
        facts["detours"] = [(int(first), int(last)) for first, last in facts["detours"]]
        SpikeDetector().restore(facts.get("detector"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"`{path}` is damaged: {error!r} in its losses, batches, returns, detours or detector. {cure}") from None
    return {**facts, "losses": losses, "micro_batches": batches, "returns": returns, "before_step": before_step}


def _incidents(parent):
    """Facts by the names of the folders; files, leftovers of killed writers, and what else lies there are none."""
    found = {}
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        if not path.name.startswith((TEMPORARY_PREFIX, REPLACED_PREFIX)) and (path / FACTS).is_file():
            try:
                facts = read_json(path / FACTS)
            except UserError:  # damaged: still a folder that takes a place
                facts = {}
            found[path.name] = facts if isinstance(facts, dict) else {}
    return found


def _place(parent, incident, returns):
    """The folder of an incident: one that is there with the same evidence, or a new one; None where there are enough of them."""
    present, mine = _incidents(parent), (incident.event, plain(incident.micro_batches))
    name = f"{incident.step}-{returns + 1}" if returns else str(incident.step)
    # Batches that could not be read may come several to a step.
    for candidate in itertools.chain((name, f"{name}-{incident.event}"), (f"{name}-{incident.event}-{number}" for number in itertools.count(2))):
        if (facts := present.get(candidate)) and (facts.get("event"), facts.get("micro_batches")) == mine:
            return parent / candidate
        if not os.path.lexists(parent / candidate):
            minor = sum(facts.get("action") in MINOR for facts in present.values())
            return parent / candidate if len(present) < MOST_INCIDENTS and (incident.action not in MINOR or minor < MOST_MINOR) else None


def _has_states(folder):
    return (folder / BEFORE).exists() or (folder / AT).exists()


def _with_states_that_fit(incident, others, had_states):
    """Returns the incident, without its states where they are not to be kept, and what its report says of that.

    Args:
        incident: with all that was collected.
        others: folders of the other incidents.
        had_states: whether the folder that it replaces has them.
    """
    bare = replace(incident, before=None, at=None, before_step=None)
    if incident.event == "unreadable":
        return bare, NOT_NEEDED
    if not (incident.before or incident.at):
        return bare, NOT_GIVEN
    used = sum(file.stat().st_size for folder in others for file in folder.iterdir() if file.is_file())
    size = sum(array.nbytes for arrays in (incident.before, incident.at) for array in (arrays or {}).values())
    if had_states or sum(map(_has_states, others)) < FIRST_WITH_STATES or used + size <= MOST_BYTES:
        return incident, ""
    return bare, NO_ROOM


def _facts(incident):
    return {
        "event": incident.event,
        "action": incident.action,
        "step": incident.step,
        "epoch": incident.epoch,
        "reason": incident.reason,
        "micro_batches": incident.micro_batches,
        "before_step": incident.before_step,
        # Exact, for the replay compares with them.
        "losses": [{name: value if name == "step" else float(value).hex() for name, value in row.items()} for row in incident.losses],
        **incident.facts,
    }

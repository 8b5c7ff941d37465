"""Saves of a checkpoint store in a row, a process that is killed in them, and what must hold afterwards."""

import os
import shutil
from pathlib import Path

import numpy as np

from kseparation.storage.checkpoints import Checkpoint, CheckpointStore, load_checkpoint
from tests.fault_points import FaultPoints, in_a_child

KEEP, KEEP_EVERY, RETAIN = 2, 40, {20}
# (step, version): new ones, one that is replaced twice, and a return to an older one, after which later ones go.
BEFORE = ((10, 0), (20, 0), (30, 0))
SAVES = ((40, 0), (40, 1), (40, 2), (50, 0), (60, 0), (55, 0), (70, 0), (70, 1))
NAMING = {"mkdir", "replace", "unlink", "rmdir"}


def state(step: int, version: int) -> tuple[dict, dict]:
    """Arrays and progress of one save; its numbers are found in no other."""
    draw = np.random.default_rng([step, version])
    arrays = {f"{index:05d}/model/kernel": draw.standard_normal((40, 30)).astype("float32") for index in range(4)}
    return {**arrays, "seed": draw.integers(0, 2**32, 2)}, {"step": step, "version": version, "best_loss": float(draw.uniform()).hex()}


def save(store: CheckpointStore, step: int, version: int) -> None:
    """Saves `state(step, version)`."""
    store.save(step, *state(step, version), retain=RETAIN)


def new_store(folder: Path) -> CheckpointStore:
    """Returns the store of a folder; what was there before is deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    store = CheckpointStore(folder, KEEP, KEEP_EVERY)
    for each in BEFORE:
        save(store, *each)
    return store


def is_state(checkpoint: Checkpoint | None, step: int, version: int) -> bool:
    """Whether it is that of this save, bit for bit."""
    arrays, progress = state(step, version)
    return (
        checkpoint is not None
        and (checkpoint.step, checkpoint.progress) == (step, progress)
        and list(checkpoint.arrays) == list(arrays)
        and all(checkpoint.arrays[name].tobytes() == array.tobytes() and checkpoint.arrays[name].dtype == array.dtype for name, array in arrays.items())
    )


def all_saves(store: CheckpointStore, report=lambda line: None) -> None:
    """Makes the saves in their order, and reports each one that is done."""
    for index, each in enumerate(SAVES):
        save(store, *each)
        report(str(index))


def calls_of_all_saves(folder: Path) -> list[str]:
    """Returns the names of the calls of the file system that the saves make."""
    points, store = FaultPoints(), new_store(folder)

    def work(report):
        all_saves(store)
        points.armed = False
        report(" ".join(points.calls))

    return in_a_child(work, points)[0][0].split()


def choose_points(calls: list[str], count: int) -> list[tuple[int, str]]:
    """Returns that many pairs of call and moment at which the disk looks different, half of them where names change.

    What lies after a call lies before the next one, and a process that is killed leaves the same files before `fsync` and after it.
    """
    renames = [(point, "before") for point, name in enumerate(calls) if name == "rename"]  # few, and the most delicate
    names = [(point, "before") for point, name in enumerate(calls) if name in NAMING]
    others = [(point, moment) for point, name in enumerate(calls) for moment in ("before", "half") if name == "write" or (name == "open" and moment == "before")]
    others.append((len(calls) - 1, "after"))
    renames = renames[:count]
    first = max(0, min(len(names), count // 2 - len(renames)))
    second = min(len(others), count - len(renames) - first)
    return renames + _spread(names, first) + _spread(others, second)


def _spread(items: list, count: int) -> list:
    return [items[(index + 1) * len(items) // count - 1] for index in range(count)]


def kept_after(folder: Path) -> list[list[int]]:
    """Returns the steps that are there before the first save and after each one, of a store that nobody kills."""
    store = new_store(folder)
    kept = [store.steps()]
    for each in SAVES:
        save(store, *each)
        kept.append(store.steps())
    return kept


def faults_after_a_kill(folder: Path, point: int, moment: str, kept: list[list[int]]) -> list[str]:
    """Kills a process at one point of its saves; returns what does not hold afterwards.

    Args:
        folder: for the store.
        point: number of the call.
        moment: `before`, `after` or `half`.
        kept: of `kept_after`.
    """
    store = new_store(folder)
    reported, killed = in_a_child(lambda report: all_saves(store, report), FaultPoints(point, moment))
    done = len(reported)
    course = [*BEFORE, *SAVES]
    old, new = course[len(BEFORE) + done - 1], SAVES[done] if done < len(SAVES) else None
    faults = [] if killed else ["the process was not killed"]
    latest = store.load_latest()
    # A save under an older step is the newest only after the later ones are gone.
    if not is_state(latest, *old) and not (new and is_state(latest, *new)):
        faults.append(f"after save {done} the newest is neither {old} nor {new}, but {latest and (latest.step, latest.progress)}")
    after = kept[min(done + 1, len(SAVES))]
    sound = {path.name for path in folder.iterdir() if path.name[0] != "." and _is_sound(path, course)}
    replaced = {path.name[5:] for path in folder.glob(".old-*") if _is_sound(path, course)}
    for step in set(kept[done]) & set(after):
        if str(step) not in sound | replaced:
            faults.append(f"after save {done} checkpoint {step} is gone")
    if len(sound | replaced) < KEEP:
        faults.append(f"after save {done} only {sorted(sound | replaced)} are sound")
    for index in range(done, len(SAVES)):
        save(store, *SAVES[index])
        left = [name for name in os.listdir(folder) if name.startswith(".")]
        if left:
            faults.append(f"after save {done} and then {index} there is left {left}")
    if store.steps() != kept[-1] or not is_state(store.load_latest(), *SAVES[-1]):
        faults.append(f"after save {done} it ended with {store.steps()} instead of {kept[-1]}")
    return [f"killed {moment} call {point}: {fault}" for fault in faults]


def _is_sound(path: Path, course) -> bool:
    try:
        checkpoint = load_checkpoint(path)
    except Exception:  # whatever is wrong with it
        return False
    return any(is_state(checkpoint, *each) for each in course if each[0] == checkpoint.step)

"""Running the step of an incident again, to find its cause."""

import json
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from kseparation.config.loading import load_config
from kseparation.data import Detours, SegmentBatches
from kseparation.errors import UserError
from kseparation.storage.arrays import read_arrays
from kseparation.storage.atomic import read_json, write_json, write_text_atomic
from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint
from kseparation.training.diagnosis import Diagnosing, Diagnosis, Evidence
from kseparation.training.faults import Injection
from kseparation.training.incidents import AT, BATCH, BEFORE, CONFIG, FACTS, PLAN, REPORT
from kseparation.training.verdicts import VERDICTS
from kseparation.workflows.build import (
    build_augmentations,
    build_dataset,
    build_faults,
    check_components,
    segment_samples,
)
from kseparation.workflows.run_folder import CHECKPOINTS
from kseparation.workflows.train import compiled_model, dtype_policy

RESULT = "replay.json"
CAUSE = "## The cause"


@dataclass(frozen=True)
class ReplayResult:
    """The cause of an incident and the batch and files that it came with."""

    incident: Path
    diagnosis: Diagnosis
    summary: dict[str, Any]


def replay(incident: str | Path, from_steps_before: int | None = None, dtype: str | None = None) -> ReplayResult:
    """Runs the step of an incident again, as the training ran it and in other ways, until its cause is clear; writes that into the incident's folder.

    On the backend of the training its losses come out bit for bit, if nothing but the program made them; on another backend, or in another precision, the same search tells whether the cause
    is theirs.

    Args:
        incident: folder `incidents/<step>` of a run.
        from_steps_before: at least so many steps before the bad one the replay begins, where the run has a checkpoint that old; by default with the state that the incident holds.
        dtype: dtype policy instead of that of the training, such as `float32`.

    Raises:
        UserError: the folder is no incident, or is damaged.
    """
    folder = Path(incident)
    if not (folder / FACTS).is_file():
        raise UserError(f"`--incident` must be the folder of an incident, such as runs/<name>/incidents/<step>. Received: {incident}. There is no {FACTS} in it.")
    facts = read_json(folder / FACTS)
    config = load_config(folder / CONFIG)
    check_components(config)
    if facts["event"] == "validation" and not (folder / BATCH).is_file():
        raise UserError(f"The incident `{folder}` holds no batch: none of the validation gave a bad loss when it was looked for. There is nothing to replay.")
    if facts["event"] == "unreadable":
        diagnosis = Diagnosis("data", f"{facts['reason']}.".replace("..", "."), tried=["read the report: the batch could not be read"])
        return _finish(folder, facts, diagnosis, keras.backend.backend())
    if not (folder / AT).is_file():
        raise UserError(f"The incident `{folder}` holds no states of the training, which the step needs to be run again; its {REPORT} says why. Replay an earlier one of the same run.")
    with dtype_policy(dtype or config.training.dtype_policy):
        keras.utils.set_random_seed(config.seed)
        model = compiled_model(config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever replays a run with injected faults knows of them
            injection = Injection(build_faults(config), replays=True)
        injection.change_model(model)
        evidence = _evidence(folder, facts, config, injection, from_steps_before)
        evidence.same_program = facts["backend"] == keras.backend.backend() and dtype in (None, config.training.dtype_policy)
        policy = dtype or config.training.dtype_policy
        in_float32 = None if policy == "float32" else lambda: _in_float32(config, injection)
        diagnosis = Diagnosing(model, evidence, injection, lambda words: print(words, file=sys.stderr, flush=True), in_float32).diagnose()
    return _finish(folder, facts, diagnosis, keras.backend.backend(), dtype)


def _in_float32(config, injection):
    with dtype_policy("float32"):
        model = compiled_model(config)
        injection.change_model(model)
    return model


class _Batches:
    """The micro-batches of some steps, read when they are due; those of the bad step come from the incident."""

    def __init__(self, batches, detours, per_epoch, first, last, stored):
        self._batches, self._detours, self._per_epoch = batches, detours, per_epoch
        self._first, self._count, self._stored = first, last - first, stored

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < self._count:
            raise IndexError(index)  # which ends an iteration
        from_end = self._count - index
        if from_end <= len(self._stored):
            return self._stored[-from_end]
        position = self._first + index
        return self._batches.batch(*divmod(position, self._per_epoch), self._detours.draw(position))


def _evidence(folder, facts, config, injection, from_steps_before):
    arrays = read_arrays(folder / BATCH)
    stored = [(arrays[f"mixtures_{number}"], arrays[f"stems_{number}"]) for number in range(len(arrays) // 2)]
    losses = [{name: value if name == "step" else float.fromhex(value) for name, value in row.items()} for row in facts["losses"]]
    threshold = config.safety.spike_threshold
    evidence = Evidence(facts["event"], facts["step"], stored, None, read_arrays(folder / AT), losses, facts.get("detector"), threshold)
    before_step = facts["before_step"]
    if facts["event"] == "validation" or before_step is None:
        return evidence
    before = read_arrays(folder / BEFORE)
    if from_steps_before is not None and facts["step"] - before_step < from_steps_before:
        before_step, before, evidence.detector = _older_state(folder, facts["step"] - from_steps_before, len(facts["recovery"]["returns"]))
    try:
        dataset = build_dataset(config)
        batches = SegmentBatches(
            dataset.tracks("train"), config.data.stems, segment_samples(config), config.training.batch_size, config.seed, build_augmentations(config)
        )
    except UserError as error:
        print(f"the training songs are not there ({error}): only the bad step itself can be run", file=sys.stderr)
        return evidence
    accumulate = config.training.accumulate_steps
    per_epoch = config.training.steps_per_epoch * accumulate
    batches = injection.batches(batches, accumulate, per_epoch)
    detours = Detours(facts["detours"])
    evidence.micro_batches = _Batches(batches, detours, per_epoch, before_step * accumulate, facts["step"] * accumulate, stored)
    evidence.before = before
    return evidence


def _older_state(folder, step, returns):
    """The newest checkpoint of the same course at or before a step: its step, state and what the detector had seen."""
    store = CheckpointStore(folder.parent.parent / CHECKPOINTS)
    for older in reversed([other for other in store.steps() if other <= step]):
        checkpoint = load_checkpoint(store.folder / str(older))
        if len(checkpoint.progress["recovery"]["returns"]) <= returns:
            return checkpoint.step, checkpoint.arrays, checkpoint.progress.get("detector")
    raise UserError(f"`--from_steps_before` needs a checkpoint of step {step} or before. Received: a run with checkpoints of steps {store.steps() or 'none'}. Ask for fewer steps.")


def _finish(folder, facts, diagnosis, backend, dtype=None):
    songs = _examples(folder, diagnosis)
    summary = {
        "incident": str(folder),
        "step": facts["step"],
        "event": facts["event"],
        **asdict(diagnosis),
        "batches": facts["micro_batches"],
        "songs": songs,
        "trained_with": facts["backend"],
        "replayed_with": backend,
        "dtype": dtype,
    }
    write_json(folder / RESULT, summary)
    report = folder / REPORT
    text = report.read_text(encoding="utf-8") if report.is_file() else f"{CAUSE}\n"
    head, _, rest = text.partition(CAUSE)
    _, mark, after = rest.partition("\n## ")
    write_text_atomic(report, f"{head}{CAUSE}\n\n{cause_text(diagnosis, songs)}\n{'## ' + after if mark else ''}")
    return ReplayResult(folder, diagnosis, json.loads(json.dumps(summary, default=str)))


def cause_text(diagnosis: Diagnosis, songs: list[dict] = ()) -> str:
    """Returns what was found, in plain words."""
    lines = [f"**{diagnosis.verdict}**: {VERDICTS[diagnosis.verdict]}. {diagnosis.reason.rstrip('.')}."]
    for key in ("layer", "part", "operation", "place"):
        if value := getattr(diagnosis, key):
            lines.append(f"- {key}: `{value}`")
    for song in songs:
        lines.append(f"- {song['stem']} from sample {song['start']} of `{song['song']}` ({song['file']}), gain {song['gain']:g}")
    lines += ["", "What was tried:", *(f"1. {words}" for words in diagnosis.tried), ""]
    return "\n".join(lines)


def _examples(folder, diagnosis):
    """Where the sound of the examples at fault comes from."""
    plan = read_json(folder / PLAN) if (folder / PLAN).is_file() else []
    found = []
    for batch, example in diagnosis.examples:
        if batch < len(plan) and isinstance(plan[batch], list) and example < len(plan[batch]):
            found += plan[batch][example]
    return found


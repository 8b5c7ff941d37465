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
from kseparation.training.diagnosis import Diagnosing
from kseparation.training.evidence import AT, BATCH, BEFORE, CONFIG, FACTS, PLAN, REPORT, Diagnosis, Evidence
from kseparation.training.faults import Injection
from kseparation.training.incident_report import CAUSE, cause_text, with_data_at_fault, with_section
from kseparation.training.incidents import check_incident, read_facts
from kseparation.workflows.build import (
    build_augmentations,
    build_dataset,
    build_faults,
    check_components,
    segment_samples,
)
from kseparation.workflows.run_folder import CHECKPOINTS
from kseparation.workflows.train import compiled_model, dtype_policy

NO_SONGS = "The training songs are not there: without them the steps before it cannot be run, and whether they would bring it again cannot be told"


@dataclass(frozen=True)
class ReplayResult:
    """The cause of an incident and the batch and files that it came with."""

    incident: Path
    diagnosis: Diagnosis
    summary: dict[str, Any]


def replay(incident: str | Path, from_steps_before: int | None = None, dtype: str | None = None) -> ReplayResult:
    """Runs the step of an incident again, as the training ran it and in other ways, until its cause is clear; writes that into the incident's folder.

    On the backend of the training its losses come out bit for bit, if nothing but the program made them; on another backend, or in another precision, the same search tells whether the cause
    is theirs. What these find, and what can be found without the songs of the training, gets a section of its own in the report, and a file of its own beside it: `replay.json` and the cause
    rest on the training as it was.

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
    notes = [note] if (note := check_incident(folder)) else []
    facts = read_facts(folder)
    config = load_config(folder / CONFIG)
    check_components(config)
    if facts["event"] == "validation" and not (folder / BATCH).is_file():
        raise UserError(f"The incident `{folder}` holds no batch: none of the validation gave a bad loss when it was looked for. There is nothing to replay.")
    if facts["event"] == "unreadable":
        diagnosis = Diagnosis("data", f"{facts['reason']}.".replace("..", "."), tried=[*notes, "read the report: the batch could not be read"])
        return _finish(folder, facts, diagnosis, [])
    if not (folder / AT).is_file():
        raise UserError(f"The incident `{folder}` holds no states of the training, which the step needs to be run again; its {REPORT} says why. Replay an earlier one of the same run.")
    with dtype_policy(dtype or config.training.dtype_policy):
        keras.utils.set_random_seed(config.seed)
        model = compiled_model(config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever replays a run with injected faults knows of them
            injection = Injection(build_faults(config), replays=True)
        injection.change_model(model)
        evidence = _evidence(folder, facts, config, injection, from_steps_before, notes)
        evidence.same_program = facts["backend"] == keras.backend.backend() and dtype in (None, config.training.dtype_policy)
        policy = dtype or config.training.dtype_policy
        differs = [] if facts["backend"] == keras.backend.backend() else [f"with {keras.backend.backend()}"]
        differs += [] if policy == config.training.dtype_policy else [f"in {policy}"]
        differs += ["without the songs"] if evidence.alone_because == NO_SONGS else []
        in_float32 = None if policy == "float32" else lambda: _in_float32(config, injection)
        for note in notes:
            _say(note)
        diagnosis = Diagnosing(model, evidence, injection, _say, in_float32).diagnose()
        diagnosis.tried[:0] = notes
    return _finish(folder, facts, diagnosis, differs, dtype)


def _say(words):
    print(words, file=sys.stderr, flush=True)


def _in_float32(config, injection):
    with dtype_policy("float32"):
        model = compiled_model(config)
        injection.change_model(model)
    return model


class _Batches:
    """The micro-batches of some steps, read when they are due; those of the bad step come from the incident, as far as it holds them: `stored`, by their number in that step."""

    def __init__(self, batches, detours, per_epoch, first, last, stored, accumulate):
        self._batches, self._detours, self._per_epoch = batches, detours, per_epoch
        self._first, self._count, self._stored, self._accumulate = first, last - first, stored, accumulate

    def __len__(self):
        return self._count

    def of_last_step(self, number):
        """The index of a micro-batch of the bad step."""
        return self._count - self._accumulate + number

    def __getitem__(self, index):
        if not 0 <= index < self._count:
            raise IndexError(index)  # which ends an iteration
        number = index - self.of_last_step(0)
        if number in self._stored:
            return self._stored[number]
        position = self._first + index
        return self._batches.batch(*divmod(position, self._per_epoch), self._detours.draw(position))


def _evidence(folder, facts, config, injection, from_steps_before, notes):
    arrays = read_arrays(folder / BATCH) if (folder / BATCH).is_file() else {}
    accumulate = 1 if facts["event"] == "validation" else config.training.accumulate_steps
    # A batch that could not be read when the incident was written has no arrays.
    stored = {number: (arrays[f"mixtures_{number}"], arrays[f"stems_{number}"]) for number in range(accumulate) if {f"mixtures_{number}", f"stems_{number}"} <= set(arrays)}
    evidence = Evidence(
        facts["event"], facts["step"], [], None, read_arrays(folder / AT), facts["losses"], facts.get("detector"), config.safety.spike_threshold
    )
    before_step = facts["before_step"]
    alone = facts["event"] == "validation" or before_step is None
    if not alone:
        before = read_arrays(folder / BEFORE)
        if from_steps_before is not None and facts["step"] - before_step < from_steps_before:
            before_step, before, evidence.detector = _older_state(folder, facts["step"], from_steps_before, facts["returns"])
    missing = [number for number in range(accumulate) if number not in stored]
    wanted = facts["event"] != "validation" and (missing or not alone)
    batches = _batches(facts, config, injection, before_step, stored, notes) if wanted else None
    _read_again(folder, facts, batches, missing, stored, notes)
    if batches is None or alone:
        evidence.alone_because = "" if facts["event"] == "validation" else "No state from before it was kept" if alone else NO_SONGS
        evidence.micro_batches = [stored[number] for number in range(accumulate)]
    else:
        evidence.micro_batches, evidence.before = batches, before
    return evidence


def _batches(facts, config, injection, before_step, stored, notes):
    """The micro-batches of the steps from a state to the incident, at least of its own; None where the songs are not there."""
    try:
        dataset = build_dataset(config)
        batches = SegmentBatches(
            dataset.tracks("train"), config.data.stems, segment_samples(config), config.training.batch_size, config.seed, build_augmentations(config)
        )
    except UserError as error:
        notes.append(f"the training songs are not there ({str(error).rstrip('.')}): only the bad step itself can be run")
        return None
    accumulate = config.training.accumulate_steps
    per_epoch = config.training.steps_per_epoch * accumulate
    batches = injection.batches(batches, accumulate, per_epoch)
    first = facts["step"] - 1 if before_step is None else before_step
    return _Batches(batches, Detours(facts["detours"]), per_epoch, first * accumulate, facts["step"] * accumulate, stored, accumulate)


def _read_again(folder, facts, batches, missing, stored, notes):
    """Completes the micro-batches of the bad step from the songs: they are pure functions of their place."""
    for number in missing:
        position = facts["micro_batches"][number]["position"] if number < len(facts["micro_batches"]) else "?"
        which = f"Micro-batch {number} of step {facts['step']}, batch {position} of the run,"
        try:
            if batches is None:
                raise UserError("there is nothing that it could be read from")
            stored[number] = batches[batches.of_last_step(number)]
        except Exception as error:  # of a song, or of the code that makes a batch
            words = f"{which} is not in the `{BATCH}` of the incident `{folder}` and cannot be read again: {error}".rstrip(".")
            raise UserError(f"{words}. The step cannot be run without it. Restore the songs, or replay another incident of the run.") from None
        notes.append(f"{which} is not in `{BATCH}`: it was read again from the songs")


def _older_state(folder, step_of_incident, from_steps_before, returns):
    """The newest checkpoint of the same course from so many steps before or earlier: its step, state and what the detector had seen."""
    step = step_of_incident - from_steps_before
    if step < 0:
        raise UserError(f"`--from_steps_before` must be at most {step_of_incident}, for the incident is of step {step_of_incident}. Received: {from_steps_before}.")
    store = CheckpointStore(folder.parent.parent / CHECKPOINTS)
    for older in reversed([other for other in store.steps() if other <= step]):
        checkpoint = load_checkpoint(store.folder / str(older))
        if len(checkpoint.progress["recovery"]["returns"]) <= returns:
            return checkpoint.step, checkpoint.arrays, checkpoint.progress.get("detector")
    raise UserError(f"`--from_steps_before` needs a checkpoint of step {step} or before. Received: a run with checkpoints of steps {store.steps() or 'none'}. Ask for fewer steps.")


def _finish(folder, facts, diagnosis, differs, dtype=None):
    """Writes what was found; `differs` says in words what was not as in the training."""
    plan = read_json(folder / PLAN) if (folder / PLAN).is_file() else []
    songs = _examples(plan, diagnosis)
    summary = {
        "incident": str(folder),
        "step": facts["step"],
        "event": facts["event"],
        **asdict(diagnosis),
        "batches": plan if facts["event"] == "validation" else facts["micro_batches"],
        "songs": songs,
        "trained_with": facts["backend"],
        "replayed_with": keras.backend.backend(),
        "dtype": dtype,
    }
    write_json(folder / f"{'_'.join(['replay', *' '.join(differs).split()])}.json", summary)
    report = folder / REPORT
    text = report.read_text(encoding="utf-8", errors="replace") if report.is_file() else ""
    heading = f"## Replayed {', '.join(differs)}" if differs else CAUSE
    text = with_section(text, heading, cause_text(diagnosis, songs))
    write_text_atomic(report, with_data_at_fault(text) if diagnosis.verdict == "data" and not differs else text)
    return ReplayResult(folder, diagnosis, json.loads(json.dumps(summary, default=str)))


def _examples(plan, diagnosis):
    """Where the sound of the examples at fault comes from."""
    found = []
    for batch, example in diagnosis.examples:
        chosen = plan[batch] if batch < len(plan) else []
        if isinstance(chosen, dict):  # of the validation
            found += chosen.get("segments", [])[example : example + 1]
        elif example < len(chosen):
            found += chosen[example]
    return found

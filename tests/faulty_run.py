"""A training of seconds with one fault in it, its replay, and what both say beside what is expected."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kseparation.config import load_config
from kseparation.errors import TrainingStopped
from kseparation.storage.arrays import read_arrays
from kseparation.storage.atomic import read_json
from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint
from kseparation.training.faults import EXPECTED
from kseparation.workflows.build import build_faults
from kseparation.workflows.replay import replay
from kseparation.workflows.train import compiled_model, train
from tests.tiny_run import tiny_config

STEP = 36
ARGUMENTS = {"validation_nan": {"batch": 0}}
# Of the smallest model, which is linear, and which a thousand times its rate does not harm.
LINEAR_ARGUMENTS = {**ARGUMENTS, "learning_rate": {"step": STEP, "factor": 1e6}}
SETTINGS = {
    "full_scale_square": ["training.dtype_policy=mixed_float16"],
    "accumulation_nan": ["training.accumulate_steps=2"],
    "validation_nan": ["training.epochs=2"],
}


@dataclass
class Found:
    """What a training said of its fault, and what `replay` found.

    Args:
        event, action: of the log; the last action.
        verdict: of the replay, None where there was no incident.
        layer: that the replay named.
        position: of the batch that the replay names, among those of the validation where it is one of them; that of the event where it could not be read.
        incident: folder that was replayed.
        run: folder of the run.
        stopped: words of the end, where the safety policy ended it.
    """

    event: str
    action: str
    verdict: str | None
    layer: str | None
    position: int | None
    incident: Path | None
    run: Path
    stopped: str | None


def run_with(name: str, folder: Path, overrides=(), model=None, replayed=True, **training) -> Found:
    """Trains with one fault of FAULTS, and replays its first incident unless it is told not to."""
    arguments = (LINEAR_ARGUMENTS if model is None else ARGUMENTS).get(name, {"step": STEP})
    fault = "{name: %s, %s}" % (name, ", ".join(f"{key}: {value}" for key, value in arguments.items()))
    if name == "learning_rate" and model is not None:
        overrides = ["training.optimizer.learning_rate=2.0e-3", *overrides]  # of a training that learns something in so few steps
    if model is None:  # which is there to be quick
        overrides = ["loss=[{name: waveform_l1, weight: 10.0}]", *overrides]
    overrides = ["reproduce_failure=true", f"inject=[{fault}]", "safety.snapshot_every_steps=10", *SETTINGS.get(name, ()), *overrides]
    settings = {"epochs": 3, "steps_per_epoch": 20, "warmup_steps": 2, **training}
    config = tiny_config(folder, overrides, model=model or {"name": "tiny_separator"}, **settings)
    stopped = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is known to break a training.*")
        try:
            train(config, run_dir=folder / "run")
        except TrainingStopped as stop:
            stopped = str(stop)
        return look(folder / "run", stopped, replayed)


def look(run: Path, stopped: str | None = None, replayed: bool = True) -> Found:
    """Reads what a training said, and replays its first incident."""
    faults = [row for row in map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) if row["kind"] == "fault"]
    if not faults:
        return Found("none", "none", None, None, None, None, run, stopped)
    incident = faults[0]["incident"] and Path(faults[0]["incident"])
    if not replayed:
        return Found(faults[0]["event"], faults[-1]["action"], None, None, None, incident, run, stopped)
    diagnosis = replay(incident).diagnosis
    event, batches = faults[0]["event"], read_json(incident / "replay.json")["batches"]
    named = [batches[batch] for batch, _ in diagnosis.examples] or (batches if event == "unreadable" else [{}])
    position = named[0].get("validation_batch" if event == "validation" else "position")
    return Found(event, faults[-1]["action"], diagnosis.verdict, diagnosis.layer, position, incident, run, stopped)


def wrong_cells(name: str, found: Found, layer: str | None) -> list[str]:
    """Returns what differs from the table: event, verdict, action, layer and batch, each in words.

    Args:
        name: of the fault.
        found: what came of it.
        layer: end of the path of the layer that the fault was put into.
    """
    expected = EXPECTED[name]
    wrong = [
        f"{what}: {getattr(found, what)} instead of {getattr(expected, what)}"
        for what in ("event", "verdict", "action")
        if getattr(found, what) not in ((expected.verdict,) if what == "verdict" else getattr(expected, what))
    ]
    if expected.names_layer and not (found.layer and layer and found.layer.split("/", 1)[-1] == layer.split("/", 1)[-1]):
        wrong.append(f"layer: {found.layer} instead of {layer}")
    accumulate = 2 if name == "accumulation_nan" else 1
    position = STEP * accumulate - 1 if name == "accumulation_nan" else (STEP - 1) * accumulate
    if name == "validation_nan":
        position = ARGUMENTS[name]["batch"]
    if expected.names_batch and found.position != position:
        wrong.append(f"batch: {found.position} instead of {position}")
    return wrong


def faulty_layer(run: Path) -> str | None:
    """Returns the path of the layer that the fault of a run was put into, None where it was not put into one."""
    config = load_config(run / "config.yaml")
    fault, model = build_faults(config)[0], compiled_model(config)
    fault.change_model(model)
    if not fault.repeats:  # it chooses a weight when it comes
        fault.before_step(model, fault.step)
    return getattr(fault, "path", None)


def all_weights_finite(run: Path) -> bool:
    """Whether every array of every checkpoint, model file and state of an incident of a run is finite, but for the records of what was not, and the states that a fault of the machine broke."""
    records = ("gradient_norm", "recorded_steps", "recorded_gradients", "recorded_updates")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are faults in it
        faults = build_faults(load_config(run / "config.yaml"))
    store = CheckpointStore(run / "checkpoints")
    states = [load_checkpoint(store.folder / str(step)).arrays for step in store.steps()]
    files = ["state_before.npz"] + ["state_at.npz"] * all(fault.repeats for fault in faults)
    states += [read_arrays(path) for name in files for path in sorted(run.glob(f"incidents/*/{name}"))]
    models = [keras.saving.load_model(path, compile=False) for path in sorted(run.glob("*.keras"))]
    assert states and models, f"{len(states)} states and {len(models)} models in {run}"
    arrays = [value for state in states for name, value in state.items() if not name.endswith(records) and value.dtype.kind == "f"]
    arrays += [keras.ops.convert_to_numpy(weight) for model in models for weight in model.weights]
    return all(bool(np.isfinite(value).all()) for value in arrays)

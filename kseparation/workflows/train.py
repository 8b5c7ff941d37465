"""Training a run from its config, to the end or on from where it was."""

import contextlib
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kseparation.config.loading import dump_config, flat_config
from kseparation.config.records import RunConfig
from kseparation.data import SegmentBatches, ValidationSegments
from kseparation.data.input_check import check_tracks
from kseparation.errors import CheckFailed, UserError
from kseparation.layers.output_watch import called_layers
from kseparation.reporting.report import write_report
from kseparation.reporting.report_data import ReportData
from kseparation.storage.atomic import read_json, remove_temporary, require_writable, write_json, write_text_atomic
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.storage.json_lines import read_json_lines
from kseparation.storage.run_lock import RunLock
from kseparation.training.faults import Injection
from kseparation.training.incidents import clean_incidents, count_incidents
from kseparation.training.run_log import METRICS_FILE, RunLog, last_step, rows_of_the_course
from kseparation.training.state import write_state
from kseparation.workflows.build import (
    build_augmentations,
    build_dataset,
    build_faults,
    build_model,
    build_objective,
    build_optimizer,
    check_components,
    refuse_impossible,
    segment_samples,
)
from kseparation.workflows.environment import describe_environment
from kseparation.workflows.fitting import Fitting
from kseparation.workflows.memory_forecast import require_memory
from kseparation.workflows.run_folder import (
    CHECKPOINTS,
    CONFIG_FILE,
    RESUME,
    SUMMARY_FILE,
    check_same_config,
    check_still_chosen,
    choose_run,
)

# Config keys whose change changes the songs. `data.root` is none: there the same songs are looked for elsewhere.
CHOOSES_SONGS = ("data.name", "data.seed", "data.songs", "data.song_seconds", "data.renderer", "data.sample_rate", "data.stems", "data.validation_split")

# Read before the first step where a model starts from data.
START_EXAMPLES = 32
# A look at which layers a model calls takes no more sound than this.
LOOK_SAMPLES = 4096


@dataclass(frozen=True)
class TrainResult:
    """Folder of the run and what `summary.json` holds."""

    run_folder: Path
    summary: dict


def train(
    config: RunConfig,
    run_dir: str | Path | None = None,
    resume: str = "auto",
    strict: bool = False,
    allow: Sequence[str] = (),
) -> TrainResult:
    """Trains a model; the same call goes on with a run that was interrupted.

    Args:
        config: the run.
        run_dir: folder of the run; by default `runs/<config name>-<backend>-<n>`.
        resume: `auto`, `never`, `must` or the folder of a run.
        strict: whether the first trouble ends the training.
        allow: config keys that may differ from those the run was begun with.

    Raises:
        UserError: config, data or folder are wrong; nothing has been written then.
        CheckFailed: every checkpoint of the run is damaged, or gone.
        KeyboardInterrupt: SIGINT or SIGTERM came; a checkpoint was written after the step, and the same call goes on from it.
        TrainingStopped: the safety policy ended it; the message names the incident.
    """
    check_components(config)
    require_memory(config)
    if allow and run_dir is None and resume in RESUME:
        raise UserError(f"`--allow` belongs to a run that goes on. Received: {','.join(allow)}. Name the run: --run_dir or --resume=<folder>.")
    choice = choose_run(config, keras.backend.backend(), run_dir, resume)
    changed = check_same_config(choice.folder, config, allow) if choice.resumes else []
    if choice.finished and not changed:
        print(f"{choice.folder} is finished; see its summary.json. To train on, raise training.epochs, with --allow=training.epochs", file=sys.stderr)
        return TrainResult(choice.folder, read_json(choice.folder / SUMMARY_FILE))
    require_writable(choice.folder / CONFIG_FILE, "--run_dir")
    with dtype_policy(config.training.dtype_policy):
        # All that can be refused is built before the data, which may take minutes to make, and before the folder.
        keras.utils.set_random_seed(config.seed)
        model = compiled_model(config)
        faults = build_faults(config)
        refuse_impossible(config, faults, compiled=keras.backend.backend() != "torch")
        injection = Injection(faults)
        injection.change_model(model)
        augmentations = build_augmentations(config)
        dataset = build_dataset(config)
        songs, validation_songs = dataset.tracks("train"), dataset.tracks("validation")
        check_tracks([*songs, *validation_songs])
        batches = SegmentBatches(songs, config.data.stems, segment_samples(config), config.training.batch_size, config.seed, augmentations)
        _check_rest(model, batches, validation_songs)
        short = sum(song.samples < batches.segment_samples for song in songs)
        if short:
            print(f"{short} of {len(songs)} training songs are shorter than a segment: silence follows them", file=sys.stderr)
        with RunLock(choice.folder):
            check_still_chosen(choice)
            remove_temporary(choice.folder)
            clean_incidents(choice.folder)
            print(f"run {choice.folder}  backend {keras.backend.backend()}", file=sys.stderr)
            store = _store(choice.folder, config.training)
            songs_now = _fingerprint(dataset, songs)
            progress = _restore(model, store, choice, changed, config.training.steps_per_epoch)
            _check_same_songs(progress, songs_now, choice.folder, changed, allow)
            # In this order: a run that is killed in between is unfinished, and the same command goes on with it.
            (choice.folder / SUMMARY_FILE).unlink(missing_ok=True)
            if changed or not choice.resumes:
                write_text_atomic(choice.folder / CONFIG_FILE, dump_config(config))
            write_json(choice.folder / "environment.json", describe_environment())
            judged_by = _judged_by(config, _fingerprint(dataset, validation_songs), model)
            if not progress:
                _start_from_data(model, batches, choice.folder)
            segments = ValidationSegments(validation_songs, batches.stems, batches.segment_samples, config.training.batch_size, config.data.overlap)
            fitting = Fitting(config, model, batches, segments, choice.folder, store, progress, {"songs": songs_now}, judged_by, strict, injection)
            summary = _summary(config, model, fitting.run(), fitting, choice.folder)
            _write_report(choice.folder, summary)
            write_json(choice.folder / SUMMARY_FILE, summary)
    return TrainResult(choice.folder, summary)


def _store(folder, training):
    every, epoch = training.keep_every_epochs, training.steps_per_epoch
    # Those of interruptions must not push out the ends of epochs, to which a return may lead.
    return CheckpointStore(folder / CHECKPOINTS, training.keep_checkpoints, every and every * epoch, count_every=epoch)


def _check_rest(model, batches, validation_songs):
    more = [song for song in (*batches.songs, *validation_songs) if song.has_rest]
    if not more:
        return
    names = ", ".join(batches.stems)
    if model.stems_add_up:
        song = more[0]
        raise UserError(
            f"The songs hold more than `data.stems`, but the stems of this model add up to the mixture. Received: data.stems={names}, "
            f"and more in the mixture of `{song.name}` at {song.rest_start / song.sample_rate:.1f} s. "
            "Name all stems, or choose another output: --set=model.output=mask."
        )
    print(f"the mixtures hold more than {names}: the rest is heard, and is no target", file=sys.stderr)


def _restore(model, store, choice, changed, steps_per_epoch):
    """Sets the model to the newest sound checkpoint; returns the progress it holds, nothing where the run has no checkpoint yet."""
    checkpoint = store.load_latest()
    if checkpoint is None:
        if store.steps():
            raise CheckFailed(
                f"No checkpoint in `{store.folder}` is sound. Received: steps {store.steps()}, all damaged. "
                "Restore one from a copy, or train anew in another --run_dir; nothing was changed."
            )
        if choice.finished or last_step(choice.folder) > steps_per_epoch:
            # Beginning anew would replace its model by one that has hardly been trained.
            raise CheckFailed(
                f"The run `{choice.folder}` has been trained and has no checkpoint to go on from. Received: an empty `{store.folder}`. "
                "Restore one from a copy, or train anew in another --run_dir; nothing was changed."
            )
        return {}
    try:
        write_state(model, checkpoint.arrays)
    except UserError as error:
        keys = ", ".join(f"`{key}`" for key in changed)
        raise UserError(f"The run cannot go on with another {keys}: {error}" if keys else str(error)) from None
    return checkpoint.progress


def _start_from_data(model, batches, folder):
    """Lets a new model take from the first training examples what it starts from, and logs that."""
    started = model.start_from_data(batches.batch(0, index) for index in range(-(-START_EXAMPLES // batches.batch_size)))
    if started:
        with RunLog(folder) as log:
            log.event("start", 0, 0, **started)
        print("from the first training examples: " + ", ".join(f"{name} {value:.4g}" for name, value in started.items()), file=sys.stderr)


def _fingerprint(dataset, songs):
    """Tells sets of songs apart by their names and lengths, and made ones by how they were made."""
    parts = [getattr(dataset, "made_by", None), *([song.name, song.samples, [*song.stems]] for song in songs)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _check_same_songs(progress, songs_now, folder, changed, allow):
    # A change that alone decides which songs there are has been allowed by name.
    if progress.get("songs", songs_now) != songs_now and "data" not in allow and not any(key.startswith(CHOOSES_SONGS) for key in changed):
        raise UserError(
            "The training songs are not those that the run was begun with: songs came or went, another length, or made with another renderer. "
            f"Put them back, go on with the new ones (kseparation train --resume={folder} --allow=data), or begin another run (--resume=never, or another folder)."
        )


def _judged_by(config, songs, model):
    """A fingerprint of that on which a validation loss depends, besides the weights."""
    parts = ("data", "loss", "model") if model.objective_names() else ("data", "loss")
    settings = {key: value for key, value in flat_config(config).items() if key.split(".")[0] in parts or key == "training.batch_size"}
    for key in ("data.workers", "data.root"):  # how and where the same songs are read
        settings.pop(key)
    return hashlib.sha256(json.dumps([settings, songs], sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def dtype_policy(name: str):
    """Sets Keras' dtype policy for the duration of a block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compiled_model(config: RunConfig) -> keras.Model:
    """Returns the model of a config, built and compiled as `train` does, with the record of its steps; the dtype policy must have been set."""
    model = build_model(config)
    optimizer = build_optimizer(config)
    optimizer.build(model.trainable_variables)
    jit = config.training.jit_compile
    if jit == "auto":
        # Keras leaves XLA off on TensorFlow without a GPU, where a step takes half again as long without it; torch runs eagerly.
        jit = keras.backend.backend() in ("tensorflow", "jax")
    model.compile(optimizer=optimizer, loss=build_objective(config, model.objective_names()), jit_compile=jit, auto_scale_loss=False)
    if config.safety.record_steps and model.tracks_parts:
        example = np.zeros((1, min(model.segment_samples, LOOK_SAMPLES), config.data.channels), "float32")
        model.record_activations(called_layers(model, example), config.safety.record_steps * config.training.accumulate_steps)
    return model


def _write_report(folder, summary):
    environment = read_json(folder / "environment.json")
    packages = environment.pop("packages")
    data = ReportData(
        title=folder.name,
        history=rows_of_the_course(read_json_lines(folder / METRICS_FILE)),
        facts={"Run": summary, "Environment": {**environment, **packages}},
        config_text=(folder / CONFIG_FILE).read_text(encoding="utf-8"),
    )
    write_report(folder / "report.html", data)


def _summary(config, model, steps, fitting, folder):
    best = fitting.best
    return {
        "run": str(folder),
        "task": config.task,
        "model": config.model.name,
        "backend": keras.backend.backend(),
        "parameters": model.count_params(),
        "steps": steps.step,
        "epochs": steps.step // config.training.steps_per_epoch,
        "best_epoch": None if best.best_step is None else math.ceil(best.best_step / config.training.steps_per_epoch),
        "best_validation_loss": best.best_loss,
        "skipped_steps": int(model.optimizer.skipped_steps),
        "returns": len(fitting.policy.returns),
        "incidents": count_incidents(folder),
        "ended_early": best.ended_early,
    }

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

from kseparation.config.loading import dump_config, flat_config
from kseparation.config.records import RunConfig
from kseparation.data import SegmentBatches, SegmentStream, ValidationSegments
from kseparation.data.input_check import check_tracks
from kseparation.errors import CheckFailed, KSeparationError, TrainingStopped, UserError
from kseparation.reporting.report import write_report
from kseparation.reporting.report_data import ReportData
from kseparation.storage.atomic import read_json, remove_temporary, require_writable, write_json, write_text_atomic
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.storage.json_lines import read_json_lines
from kseparation.storage.run_lock import RunLock
from kseparation.training import TerminateOnNonFinite
from kseparation.training.feeding import fit_input
from kseparation.training.interruption import Interruption
from kseparation.training.run_callbacks import KeepBest, LogSteps, SaveCheckpoint
from kseparation.training.run_log import METRICS_FILE, RunLog, last_step
from kseparation.training.state import write_state
from kseparation.training.tensorboard import tensorboard_scalars
from kseparation.training.validation_set import ValidationSet
from kseparation.training.weight_averaging import ValidateAveragedWeights
from kseparation.workflows.build import (
    build_augmentations,
    build_dataset,
    build_model,
    build_objective,
    build_optimizer,
    check_components,
    segment_samples,
)
from kseparation.workflows.environment import describe_environment
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
        strict: whether the first step that is not finite ends the training.
        allow: config keys that may differ from those the run was begun with.

    Raises:
        UserError: config, data or folder are wrong; nothing has been written then.
        CheckFailed: every checkpoint of the run is damaged, or gone.
        KeyboardInterrupt: SIGINT or SIGTERM came; a checkpoint was written after the step, and the same call goes on from it.
        TrainingStopped: too many steps in a row were not finite.
    """
    check_components(config)
    require_memory(config)
    if allow and run_dir is None and resume in RESUME:
        raise UserError(f"`--allow` belongs to a run that goes on. Received: {','.join(allow)}. Name the run: --run_dir or --resume=<folder>.")
    choice = choose_run(config, keras.backend.backend(), run_dir, resume)
    changed = check_same_config(choice.folder, config, allow) if choice.resumes else []
    if choice.finished and not changed:
        print(f"{choice.folder} is finished; see its summary.json", file=sys.stderr)
        return TrainResult(choice.folder, read_json(choice.folder / SUMMARY_FILE))
    require_writable(choice.folder / CONFIG_FILE, "--run_dir")
    with _dtype_policy(config.training.dtype_policy):
        # All that can be refused is built before the data, which may take minutes to make, and before the folder.
        keras.utils.set_random_seed(config.seed)
        model = _compiled_model(config)
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
            print(f"run {choice.folder}  backend {keras.backend.backend()}", file=sys.stderr)
            store = CheckpointStore(choice.folder / CHECKPOINTS, keep=config.training.keep_checkpoints)
            songs_now = _fingerprint(dataset, songs)
            progress = _restore(model, store, choice, changed, config.training.steps_per_epoch)
            _check_same_songs(progress, songs_now, choice.folder, changed, allow)
            # In this order: a run that is killed in between is unfinished, and the same command goes on with it.
            (choice.folder / SUMMARY_FILE).unlink(missing_ok=True)
            if changed or not choice.resumes:
                write_text_atomic(choice.folder / CONFIG_FILE, dump_config(config))
            write_json(choice.folder / "environment.json", describe_environment())
            fixed = {"songs": songs_now, "judged_by": _judged_by(config, _fingerprint(dataset, validation_songs), model)}
            if not progress:
                _start_from_data(model, batches, choice.folder)
            summary = _fit(config, model, batches, validation_songs, choice.folder, store, progress, fixed, strict)
            _write_report(choice.folder, summary)
            write_json(choice.folder / SUMMARY_FILE, summary)
    return TrainResult(choice.folder, summary)


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
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _compiled_model(config):
    model = build_model(config)
    optimizer = build_optimizer(config)
    optimizer.build(model.trainable_variables)
    jit = config.training.jit_compile
    if jit == "auto":
        # Keras leaves XLA off on TensorFlow without a GPU, where a step takes half again as long without it; torch runs eagerly.
        jit = keras.backend.backend() in ("tensorflow", "jax")
    model.compile(optimizer=optimizer, loss=build_objective(config, model.objective_names()), jit_compile=jit, auto_scale_loss=False)
    return model


def _fit(config, model, batches, validation_songs, folder, store, progress, fixed, strict):
    training = config.training
    first_step = progress.get("step", 0)
    segments = ValidationSegments(validation_songs, batches.stems, batches.segment_samples, training.batch_size, config.data.overlap)
    validation = ValidationSet(segments)
    guard = TerminateOnNonFinite(1 if strict else training.max_skipped_in_a_row)
    best = KeepBest(folder, training.steps_per_epoch, training.early_stopping_patience, fixed["judged_by"], progress)
    if progress.get("stopped") and (best.ended_early or first_step >= training.epochs * training.steps_per_epoch):
        # Nothing is left in which it could recover.
        raise TrainingStopped(f"{progress['stopped']} It had come to its end, and nothing was trained now. Begin another run: --resume=never, or another folder.")
    with (
        RunLog(folder, first_step) as log,
        tensorboard_scalars(folder / "tensorboard", config.logging.tensorboard, first_step) as tensorboard,
        Interruption() as interruption,
    ):
        if progress:
            epoch, done = divmod(first_step, training.steps_per_epoch)
            log.event("resume", first_step, epoch, from_backend=progress.get("backend"))
            print(f"resumed at epoch {epoch + 1}, step {first_step}" + (f", {done} steps into the epoch" if done else ""), file=sys.stderr)
        steps = LogSteps(
            log, training.steps_per_epoch, training.accumulate_steps, first_step, config.logging.every_n_steps, training.epochs, tensorboard
        )
        callbacks = [ValidateAveragedWeights(), steps, guard, best, SaveCheckpoint(store, log, steps, best, guard, interruption, {"songs": fixed["songs"]}, tensorboard)]
        for epoch, done, end in _legs(first_step, training.steps_per_epoch, training.epochs):
            if not best.ended_early:
                _fit_leg(config, model, batches, validation, callbacks, epoch, done, end)
        if interruption.received is not None:  # after the last checkpoint
            interruption.act()
    return _summary(config, model, steps, best, folder)


def _legs(first_step, steps_per_epoch, epochs):
    """Yields (epoch, steps done in it, last epoch) for each call of `fit`: an epoch that was interrupted is ended by a call of its own."""
    epoch, done = divmod(first_step, steps_per_epoch)
    if done and epoch < epochs:
        yield epoch, done, epoch + 1
        epoch += 1
    if epoch < epochs:
        yield epoch, 0, epochs


def _fit_leg(config, model, batches, validation, callbacks, epoch, done, end):
    training = config.training
    batches_per_epoch, first_batch = (steps * training.accumulate_steps for steps in (training.steps_per_epoch, done))
    audio = (batches.segment_samples, config.data.channels)
    shapes = (audio, (len(batches.stems), *audio))
    failures = []

    def remembering(source):
        try:
            yield from source
        except Exception as error:
            failures.append(error)
            raise

    model.set_micro_batches(epoch * batches_per_epoch + first_batch)
    with SegmentStream(batches, batches_per_epoch, epoch, config.data.workers, first_batch) as source:
        try:
            model.fit(
                fit_input(remembering(source), shapes),
                steps_per_epoch=batches_per_epoch - first_batch,
                initial_epoch=epoch,
                epochs=end,
                validation_data=fit_input(validation, shapes),
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        except KSeparationError:  # a stop or a full disk, whatever was read ahead meanwhile
            raise
        except Exception:
            # TensorFlow hides what went wrong in reading behind an error of its own.
            for failure in (*failures, *validation.failures):
                raise failure from None
            raise


def _write_report(folder, summary):
    environment = read_json(folder / "environment.json")
    packages = environment.pop("packages")
    data = ReportData(
        title=folder.name,
        history=read_json_lines(folder / METRICS_FILE),
        facts={"Run": summary, "Environment": {**environment, **packages}},
        config_text=(folder / CONFIG_FILE).read_text(encoding="utf-8"),
    )
    write_report(folder / "report.html", data)


def _summary(config, model, steps, best, folder):
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
        "ended_early": best.ended_early,
    }

"""From config to objects: the only place that knows both."""

import inspect
from collections.abc import Sequence

import keras

from kseparation.config.arguments import check_arguments
from kseparation.config.failure_gate import require_reproduce_failure
from kseparation.config.places import Problems
from kseparation.config.records import UNUSED_KEYS, ComponentConfig, RunConfig
from kseparation.errors import UserError, did_you_mean
from kseparation.losses import LOSSES, Objective
from kseparation.models import MODELS
from kseparation.training import FixedNorm, GuardedOptimizer, WarmupSchedule
from kseparation.training.faults import FAULTS, Fault
from kseparation.training.optimizers import OPTIMIZERS
from kseparation.training.recoverable_rate import RecoverableRate
from kseparation.workflows.tasks import TASKS, Task
from kseparation.workflows.tasks.construction import construct


def check_components(config: RunConfig) -> None:
    """Checks every name and argument of a config against the code before anything is built; all errors in one message.

    Raises:
        UserError: a component or an argument does not exist or has the wrong type, or a key asks for what this version cannot do.
    """
    problems, task = Problems(), TASKS[config.task]
    taken = inspect.signature(task.datasets[config.data.name]).parameters if config.data.name in task.datasets else {}
    _check(config.data, task.datasets, "data set", problems, [key for key in task.set_by_data if key in taken])
    for key in UNUSED_KEYS.get(config.task, {}).get("data", ()):
        if key in config.data.model_fields_set:
            problems.add(config.data.place.below(key), f"means nothing to the task `{config.task}`. Remove it.")
    for augmentation in config.augment:
        _check(augmentation, task.augmentations, "augmentation", problems)
    losses = {name: loss for name, loss in LOSSES.items() if getattr(loss, "task", "separation") == config.task}
    for loss in config.loss:
        if loss.name in LOSSES and loss.name not in losses:
            problems.add(loss.place.below("name"), f"is no loss of the task `{config.task}`. Received: {loss.name}. Valid: {', '.join(f'`{name}`' for name in losses)}.")
        else:
            _check(loss, losses, "loss", problems)
    faults = {name: fault for name, fault in FAULTS.items() if config.task in fault.tasks}
    for fault in config.inject:
        if fault.name in FAULTS and fault.name not in faults:
            problems.add(fault.place.below("name"), f"is no fault of the task `{config.task}`. Received: {fault.name}. Valid: {', '.join(f'`{name}`' for name in faults)}.")
        else:
            _check(fault, faults, "fault", problems)
    models = {name: model for name, model in MODELS.items() if model.task == config.task}
    _check(config.model, models, "model", problems, task.set_by_run)
    _check(config.training.optimizer, OPTIMIZERS, "optimizer", problems, ("learning_rate", "weight_decay"))
    _refuse_unavailable(config, problems)
    problems.raise_if_any()


def _check(component: ComponentConfig, registry: dict, kind: str, problems: Problems, provided=(), besides=()):
    if component.name not in registry:
        problems.add(component.place.below("name"), f"is no {kind}. Received: {component.name}. {did_you_mean(component.name, registry)}")
        return
    if hasattr(registry[component.name], "from_preset"):
        besides = (*besides, "preset")
        preset = component.arguments.get("preset")
        if preset is not None and not isinstance(preset, str):
            problems.add(component.place.below("preset"), f"must be a name. Received: {preset!r}")
    arguments = {key: value for key, value in component.arguments.items() if key not in besides}
    check_arguments(registry[component.name], arguments, component.place, provided, problems, besides)


def _refuse_unavailable(config, problems):
    """Keys that the format has and this version cannot honour are refused, never ignored."""
    place = f"{config.source}: " if config.source else ""
    unavailable = {
        "training.rematerialise": (config.training.rematerialise, False),
        "logging.wandb": (config.logging.wandb, "off"),
    }
    for key, (received, only) in unavailable.items():
        if received != only:
            problems.add(f"{place}`{key}`", f"is not available yet. Received: {received}. Remove it, or set it to {str(only).lower()}.")


def build_model(task: Task) -> keras.Model:
    """Returns the built model of a config; what the data decide is filled in."""
    config = task.config
    model = construct(MODELS[config.model.name], config.model, task.model_arguments())
    model.name = config.model.name  # Keras would number the models of a process, and its paths name layers in reports
    try:
        model.build(keras.tree.map_structure(lambda part: part.shape, task.model_input()))
    except ValueError as error:
        raise UserError(f"{config.model.place}: {error}") from error
    for argument, reason in model.known_failures().items():
        require_reproduce_failure(config, config.model.place.below(argument), reason)
    return model


def build_objective(task: Task, own_parts: Sequence[str] = ()) -> Objective | None:
    """Returns the weighted sum of the losses of a config, None where the model's own objective is all there is.

    Args:
        task: of the run.
        own_parts: what the model adds to the loss by itself, its `objective_names`.
    """
    config, losses, weights, schedules = task.config, {}, {}, {}
    if not config.loss:
        if not own_parts:
            raise UserError(f"`loss` is empty, and the model `{config.model.name}` has no objective of its own. Received: []. Name one, such as - name: waveform_l1")
        return None
    for part in config.loss:
        loss = construct(LOSSES[part.name], part, {})
        if loss.name in losses:
            raise UserError(f"{part.place.below('name')}: two losses have the same name in the log. Received: {loss.name}. Keep one of them.")
        task.require_loss(loss, part.place)
        losses[loss.name], weights[loss.name], schedules[loss.name] = loss, part.weight, (part.start_step, part.ramp_steps)
    try:
        return Objective(losses, weights, schedules, alone=not own_parts)
    except ValueError as error:
        raise UserError(f"`loss`: {error}") from error


def build_faults(config: RunConfig) -> list[Fault]:
    """Returns the faults that a config injects.

    Raises:
        UserError: it has some, and not `reproduce_failure`.
    """
    for fault in config.inject:
        require_reproduce_failure(config, fault.place.below("name"), "it is a fault that is put in on purpose")
    return [construct(FAULTS[fault.name], fault, {}) for fault in config.inject]


def refuse_impossible(config: RunConfig, faults: Sequence[Fault], compiled: bool) -> None:
    """Raises UserError where a fault could never come, which would look as if the training had survived it.

    Args:
        config: of the run.
        faults: built from it.
        compiled: whether a training step is a compiled program on this backend.
    """
    training = config.training
    for part, fault in zip(config.inject, faults, strict=True):
        try:
            fault.require_possible(training.epochs * training.steps_per_epoch, training.accumulate_steps, compiled)
        except ValueError as error:
            raise UserError(f"{part.place}: {error}.") from None
    marking = [part for part, fault in zip(config.inject, faults, strict=True) if fault.marks_batches]
    if len(marking) > 1:
        names = ", ".join(part.name for part in marking)
        raise UserError(f"{marking[1].place}: a training can have one of the faults that answer to a marked batch. Received: {names}. Take a run for each.")


def build_optimizer(config: RunConfig) -> GuardedOptimizer:
    """Returns the guarded optimizer of a config with its schedule."""
    training = config.training
    part = training.optimizer
    schedule = RecoverableRate(WarmupSchedule(part.learning_rate, training.warmup_steps, training.epochs * training.steps_per_epoch, training.schedule))
    inner = construct(OPTIMIZERS[part.name], part, {"learning_rate": schedule, "weight_decay": part.weight_decay})
    return GuardedOptimizer(
        inner,
        clipping=FixedNorm(training.clip_norm) if training.clip_norm else None,
        accumulate_steps=training.accumulate_steps,
        averaging=training.ema,
        loss_scaling=training.dtype_policy == "mixed_float16",
        record_steps=config.safety.record_steps,
    )

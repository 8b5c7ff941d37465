"""From config to objects: the only place that knows both."""

import keras

from kseparation.config.arguments import check_arguments
from kseparation.config.places import Problems
from kseparation.config.records import ComponentConfig, RunConfig
from kseparation.data import AUGMENTATIONS, DATASETS
from kseparation.errors import UserError, did_you_mean
from kseparation.losses import LOSSES, Objective
from kseparation.models import MODELS
from kseparation.training import FixedNorm, GuardedOptimizer, WarmupSchedule

OPTIMIZERS = {
    "adamw": keras.optimizers.AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "lion": keras.optimizers.Lion,
}
# Constructor arguments that the run itself fills in.
_FROM_DATA = ("root", "stems", "sample_rate", "channels", "validation_split")
_MODEL_FROM_DATA = ("stems", "sample_rate", "channels", "segment_samples")


def _look_up(component: ComponentConfig, registry: dict, kind: str):
    if component.name not in registry:
        raise UserError(f"{component.place.below('name')}: no such {kind}. Received: {component.name}. {did_you_mean(component.name, registry)}")
    return registry[component.name]


def segment_samples(config: RunConfig) -> int:
    """Returns the length of a training segment in samples."""
    return round(config.data.segment_seconds * config.data.sample_rate)


def check_components(config: RunConfig) -> None:
    """Checks every name and argument of a config against the code before anything is built; all errors in one message."""
    problems = Problems()
    dataset = _look_up(config.data, DATASETS, "data set")
    check_arguments(dataset, config.data.arguments, config.data.place, _FROM_DATA, problems)
    for augmentation in config.augment:
        check_arguments(_look_up(augmentation, AUGMENTATIONS, "augmentation"), augmentation.arguments, augmentation.place, problems=problems)
    for loss in config.loss:
        check_arguments(_look_up(loss, LOSSES, "loss"), loss.arguments, loss.place, problems=problems)
    model = _look_up(config.model, MODELS, "model")
    arguments = {key: value for key, value in config.model.arguments.items() if key != "preset"}
    check_arguments(model, arguments, config.model.place, _MODEL_FROM_DATA, problems)
    optimizer = config.training.optimizer
    check_arguments(_look_up(optimizer, OPTIMIZERS, "optimizer"), optimizer.arguments, optimizer.place, ("learning_rate", "weight_decay"), problems)
    problems.raise_if_any()


def build_dataset(config: RunConfig):
    """Returns the data set object of a config."""
    data = config.data
    arguments = check_arguments(DATASETS[data.name], data.arguments, data.place, _FROM_DATA)
    if data.root is None and data.name != "builtin":
        raise UserError(f"{data.place.below('root')} is required for the data set `{data.name}`. Received: null. Give the folder of the songs.")
    return DATASETS[data.name](
        root=data.root, stems=data.stems, sample_rate=data.sample_rate, channels=data.channels, validation_split=data.validation_split, **arguments
    )


def build_augmentations(config: RunConfig) -> list:
    """Returns the augmentations of a config in their order."""
    return [
        AUGMENTATIONS[part.name](**check_arguments(AUGMENTATIONS[part.name], part.arguments, part.place)) for part in config.augment
    ]


def build_model(config: RunConfig) -> keras.Model:
    """Returns the built model of a config; stems, rates and segment length come from `data`."""
    constructor = MODELS[config.model.name]
    arguments = dict(config.model.arguments)
    preset = arguments.pop("preset", None)
    arguments = check_arguments(constructor, arguments, config.model.place, _MODEL_FROM_DATA)
    data = config.data
    arguments.update(stems=tuple(data.stems), sample_rate=data.sample_rate, channels=data.channels, segment_samples=segment_samples(config))
    try:
        model = constructor.from_preset(preset, **arguments) if preset is not None else constructor(**arguments)
        model.build((None, None, data.channels))
    except ValueError as error:
        raise UserError(f"{config.model.place}: {error}") from error
    return model


def build_objective(config: RunConfig) -> Objective:
    """Returns the weighted sum of the losses of a config."""
    losses, weights = {}, {}
    for part in config.loss:
        try:
            loss = LOSSES[part.name](**check_arguments(LOSSES[part.name], part.arguments, part.place))
        except ValueError as error:
            raise UserError(f"{part.place}: {error}") from error
        if loss.name in losses:
            raise UserError(f"{part.place.below('name')}: two losses have the same name in the log. Received: {loss.name}. Keep one of them.")
        losses[loss.name], weights[loss.name] = loss, part.weight
    return Objective(losses, weights)


def build_optimizer(config: RunConfig) -> GuardedOptimizer:
    """Returns the guarded optimizer of a config with its schedule."""
    training = config.training
    part = training.optimizer
    arguments = check_arguments(OPTIMIZERS[part.name], part.arguments, part.place, ("learning_rate", "weight_decay"))
    schedule = WarmupSchedule(part.learning_rate, training.warmup_steps, training.epochs * training.steps_per_epoch, training.schedule)
    inner = OPTIMIZERS[part.name](learning_rate=schedule, weight_decay=part.weight_decay, **arguments)
    return GuardedOptimizer(
        inner,
        clipping=FixedNorm(training.clip_norm) if training.clip_norm else None,
        accumulate_steps=training.accumulate_steps,
        averaging=training.ema,
        loss_scaling=training.dtype_policy == "mixed_float16",
    )

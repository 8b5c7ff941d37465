"""The records that a config file is read into.

Each default is that of an absent key. Times are in seconds here and in samples everywhere else.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from kseparation.config.places import Place
from kseparation.config.stem_names import STEM_NAME


class Record(BaseModel):
    """Base of all records: frozen, strict about types, unknown keys refused, equal when a file can say nothing else."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )

    def __eq__(self, other: object) -> bool:
        # `place` and `source` tell where a value came from, not what it is; they are excluded from `model_dump`.
        return type(self) is type(other) and self.model_dump() == other.model_dump()

    __hash__ = None


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError("must not name anything twice; twice: " + ", ".join(f"`{value}`" for value in repeated))
    return values


def _not_mixture(values: tuple[str, ...]) -> tuple[str, ...]:
    if "mixture" in values:
        raise ValueError("must not hold `mixture`: it is the name of the input")
    return values


def _not_a_number(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):  # 1 == True would pass for a literal
        raise ValueError(f"must be true, false or `auto`. Received: {value!r}")
    return value


# strict=False on the tuple alone: YAML has lists only.
_StemName = Annotated[str, StringConstraints(pattern=rf"^{STEM_NAME}$")]
_Stems = Annotated[
    tuple[_StemName, ...], Field(strict=False, min_length=1), AfterValidator(_distinct), AfterValidator(_not_mixture)
]
_Overlap = Annotated[float, Field(ge=0, lt=1)]
_Name = Annotated[str, Field(min_length=1)]


class ComponentConfig(Record):
    """A part that is built by name: `name:` plus the arguments of its constructor.

    Args:
        name: name in the registry of its kind.
        arguments: constructor arguments as the file has them; `check_arguments` holds them against the signature.
        place: where it was written, for messages; no part of equality or of the dump.
    """

    name: _Name
    arguments: dict[str, Any] = {}
    place: Place = Field(Place(), exclude=True, repr=False)


class LossConfig(ComponentConfig):
    """One part of the loss.

    Args:
        weight: multiplies it in the sum; with 0 it is logged as it is and does not count.
        start_step: optimizer step from which it counts.
        ramp_steps: optimizer steps in which its weight then rises to the full.
    """

    weight: float = Field(1.0, ge=0)
    start_step: int = Field(0, ge=0)
    ramp_steps: int = Field(0, ge=0)


class OptimizerConfig(ComponentConfig):
    """The optimizer: peak learning rate, decoupled weight decay per step, and further arguments of its constructor."""

    name: _Name = "adamw"
    learning_rate: float = Field(5.0e-4, gt=0)
    weight_decay: float = Field(1.0e-4, ge=0)


class DataConfig(ComponentConfig):
    """What is trained on: the data set `name`, how tracks are cut, and further arguments of that data set.

    Args:
        root: folder of the data set; None for one that makes its own.
        stems: names of the sources, in the order of the model's output.
        sample_rate: in Hz; files of another rate are resampled.
        channels: 1 or more; files with another number are converted.
        segment_seconds: length of a training example.
        overlap: largest share of a validation segment that the next one of the same song repeats, in [0, 1); training
            segments are drawn at random.
        validation_split: share of the training tracks kept for validation where the data set has no split of its own,
            in [0, 1).
        workers: threads that read ahead; 0 reads in the training process.
    """

    name: _Name = "builtin"
    root: Annotated[str, Field(min_length=1)] | None = None
    stems: _Stems = ("vocals", "drums", "bass", "other")
    sample_rate: int = Field(44100, ge=100, le=768_000)
    channels: int = Field(2, ge=1, le=64)
    segment_seconds: float = Field(3.0, gt=0, le=3600)
    overlap: _Overlap = 0.0
    validation_split: float = Field(0.1, ge=0, lt=1)
    workers: int = Field(2, ge=0, le=256)

    @model_validator(mode="after")
    def _at_least_one_sample(self) -> "DataConfig":
        if round(self.segment_seconds * self.sample_rate) < 1:
            raise ValueError(
                "must have segments of at least one sample: `segment_seconds` x `sample_rate` is too small. "
                f"Received: segment_seconds={self.segment_seconds}, sample_rate={self.sample_rate}"
            )
        return self


class TrainingConfig(Record):
    """How long and how the weights are moved.

    All schedules count optimizer steps; an epoch is `steps_per_epoch` of them.

    Args:
        epochs: validations and checkpoints to run.
        steps_per_epoch: optimizer steps between two validations.
        batch_size: segments in one forward pass.
        accumulate_steps: forward passes whose gradients are averaged into one optimizer step.
        optimizer: name, peak learning rate, weight decay.
        warmup_steps: optimizer steps of linear rise to the peak learning rate.
        schedule: course after the warm-up: `cosine` falls to zero at the end, `linear_tail` falls in a straight line over the
            last 40 %, `constant` stays.
        clip_norm: largest norm of all gradients together; None does not clip.
        ema: decay of the running mean of the weights that is validated and saved, in [0, 1); 0 is none.
        dtype_policy: Keras dtype policy; spectra, losses and metrics stay float32.
        jit_compile: true, false, or `auto`: on TensorFlow and JAX, where it pays.
        early_stopping_patience: epochs without a better validation before the end; None trains to the last epoch.
        keep_checkpoints: newest checkpoints of ends of epochs that are kept; that of an interruption stays besides until the next is written.
        keep_every_epochs: epochs between two checkpoints that are kept for good; None keeps none of them.
        rematerialise: recompute attention in the backward pass, for less memory.
        max_skipped_in_a_row: rejected steps in a row at which the training returns to its last good state; see `safety`.
    """

    epochs: int = Field(10, ge=1)
    steps_per_epoch: int = Field(100, ge=1)
    batch_size: int = Field(4, ge=1)
    accumulate_steps: int = Field(1, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    warmup_steps: int = Field(1000, ge=0)
    schedule: Literal["cosine", "linear_tail", "constant"] = "cosine"
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    ema: float = Field(0.999, ge=0, lt=1)
    dtype_policy: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    jit_compile: Annotated[Literal[True, False, "auto"], BeforeValidator(_not_a_number)] = "auto"
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = 20
    keep_checkpoints: int = Field(3, ge=1)
    keep_every_epochs: Annotated[int, Field(ge=1)] | None = None
    rematerialise: bool = False
    max_skipped_in_a_row: int = Field(10, ge=1)


class SafetyConfig(Record):
    """What is watched while training, and what is done about trouble.

    Args:
        snapshot_every_steps: optimizer steps between two states kept in memory, to which the training can return.
        keep_snapshots: number of them.
        spike_threshold: a loss that lies above the largest of the last ones by so many times their scatter makes the training return; 0 never does.
        most_returns: returns within 10,000 steps before the training ends.
        record_steps: last steps of which gradient norms, updates and activations of each layer are kept for an incident; 0 keeps none.
    """

    snapshot_every_steps: int = Field(100, ge=1)
    keep_snapshots: int = Field(3, ge=2)
    spike_threshold: float = Field(12.0, ge=0)
    most_returns: int = Field(3, ge=0)
    record_steps: int = Field(256, ge=0, le=4096)


class LoggingConfig(Record):
    """What is written while training.

    Args:
        every_n_steps: optimizer steps between two lines of `metrics.jsonl`.
        tensorboard: whether TensorBoard events are written.
        wandb: Weights & Biases.
    """

    every_n_steps: int = Field(10, ge=1)
    tensorboard: bool = True
    wandb: Literal["off", "offline", "online"] = "off"


class EvaluationConfig(Record):
    """How whole tracks are scored: the metrics, and the overlap of the segments they are separated in."""

    metrics: Annotated[
        tuple[Literal["sdr", "si_sdr", "bss_eval"], ...], Field(strict=False, min_length=1), AfterValidator(_distinct)
    ] = ("sdr",)
    overlap: _Overlap = 0.5


# What an absent key means for a task, where that is not the default of `RunConfig`.
TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "counts": {
        "data": DataConfig(name="pbmc68k"),
        "augment": (),
        "model": ComponentConfig(name="count_autoencoder"),
        "loss": (LossConfig(name="negative_binomial"),),
    },
}
# Keys that mean nothing to a task.
UNUSED_KEYS: dict[str, dict[str, tuple[str, ...]]] = {"counts": {"data": ("stems", "sample_rate", "channels", "segment_seconds", "overlap")}}


class RunConfig(Record):
    """One run, complete: what `config.yaml` in a run folder holds.

    Args:
        task: what is trained.
        seed: everything random in the run follows from it.
        data: the data set and how it is cut.
        augment: changes to each training example, in this order.
        model: architecture and constructor arguments.
        loss: parts of the loss; their weighted sum is trained on. May be empty where the model has an objective of its own.
        training: length, optimizer, precision.
        safety: what is watched, and what is done about trouble.
        inject: faults that are put into the training on purpose, to see what comes of them; needs `reproduce_failure`.
        logging: what is recorded.
        evaluation: how whole tracks are scored.
        reproduce_failure: lets settings pass that are known to break a training; they exist to show the failure.
        source: path of the file it was read from, or empty; no part of equality or of the dump.

    Example:

    >>> RunConfig(seed=3).training.batch_size
    4
    """

    task: Literal["separation", "counts"] = "separation"
    seed: int = Field(0, ge=0, lt=2**32)
    data: DataConfig = DataConfig()
    augment: Annotated[tuple[ComponentConfig, ...], Field(strict=False)] = (
        ComponentConfig(name="gain", arguments={"low": 0.7, "high": 1.3}),
        ComponentConfig(name="remix", arguments={"probability": 0.5}),
    )
    model: ComponentConfig = ComponentConfig(name="moises_light", arguments={"preset": "demo"})
    loss: Annotated[tuple[LossConfig, ...], Field(strict=False)] = (
        LossConfig(name="waveform_l1", weight=10.0),
        LossConfig(name="multi_resolution_complex_stft", arguments={"windows": [4096, 2048, 1024, 512, 256]}),
    )
    training: TrainingConfig = TrainingConfig()
    safety: SafetyConfig = SafetyConfig()
    inject: Annotated[tuple[ComponentConfig, ...], Field(strict=False)] = ()
    logging: LoggingConfig = LoggingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    reproduce_failure: bool = False
    source: str = Field("", exclude=True, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, given: Any) -> Any:
        if isinstance(given, dict):
            given = TASK_DEFAULTS.get(given.get("task"), {}) | given
        return given

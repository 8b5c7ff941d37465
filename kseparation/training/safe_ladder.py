"""Settings under which a training that breaks is most likely to hold, one after the other."""

from dataclasses import dataclass

from kseparation.config.records import RunConfig

# Of a config that accumulates: no rung asks for a smaller one.
SAFE_LEARNING_RATE = 2.5e-4
SAFE_WARMUP_STEPS = 1000
SAFE_CLIP_NORM = 0.5
SAFE_DROPOUT = 0.05


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: what it is in words, and the `--set` values that take it."""

    words: str
    overrides: tuple[str, ...]


def safe_ladder(config: RunConfig, dropout: float = 0.0) -> list[Rung]:
    """Returns the steps that a config has not taken yet, the gentlest first.

    Half the learning rate on half the batch with twice the accumulation; a warm-up of 1000 steps and gradients clipped to a norm of 0.5; float32; waveform L1 alone; no more dropout than
    0.05. The first is offered until a config accumulates and has either a learning rate of 2.5e-4 or less, or the warm-up and the clipping of the second. The shipped `*_safe.yaml` have
    taken all of them.

    Args:
        config: of the run.
        dropout: share that its model drops.
    """
    training, rungs, gentler = config.training, [], {}
    if training.warmup_steps < SAFE_WARMUP_STEPS:
        gentler["warmup_steps"] = SAFE_WARMUP_STEPS
    if training.clip_norm is None or training.clip_norm > SAFE_CLIP_NORM:
        gentler["clip_norm"] = SAFE_CLIP_NORM
    if training.accumulate_steps == 1 or (training.optimizer.learning_rate > SAFE_LEARNING_RATE and gentler):
        rungs.append(_half(training))
    if gentler:
        rungs.append(Rung(f"a warm-up of {SAFE_WARMUP_STEPS} steps, and gradients clipped to a norm of {SAFE_CLIP_NORM}", _sets("training", gentler)))
    if training.dtype_policy != "float32":
        rungs.append(Rung("float32 throughout", _sets("training", {"dtype_policy": "float32"})))
    if config.task == "separation" and config.loss and [loss.name for loss in config.loss] != ["waveform_l1"]:
        rungs.append(Rung("the waveform L1 loss alone", ("loss=[{name: waveform_l1, weight: 10.0}]",)))
    if dropout > SAFE_DROPOUT:
        rungs.append(Rung(f"dropout {SAFE_DROPOUT}", (f"model.dropout={SAFE_DROPOUT}",)))
    return rungs


def _half(training):
    changes, words = {"optimizer.learning_rate": f"{training.optimizer.learning_rate / 2:g}"}, "half the learning rate"
    if training.batch_size > 1:
        changes["batch_size"] = training.batch_size // 2
        words += ", on half the batch with twice the accumulation"
    elif training.accumulate_steps == 1:
        words += ", with twice the accumulation"
    if training.batch_size > 1 or training.accumulate_steps == 1:
        changes["accumulate_steps"] = 2 * training.accumulate_steps
    return Rung(words, _sets("training", changes))


def _sets(section, changes):
    return tuple(f"{section}.{key}={value}" for key, value in changes.items())

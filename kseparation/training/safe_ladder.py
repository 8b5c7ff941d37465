"""Settings under which a training that breaks is most likely to hold, one after the other."""

from dataclasses import dataclass

from kseparation.config.records import RunConfig

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
    0.05. The shipped `*_safe.yaml` have taken all of them.

    Args:
        config: of the run.
        dropout: share that its model drops.
    """
    training, rungs = config.training, []
    if training.accumulate_steps == 1:
        batch = max(1, training.batch_size // 2)
        changes = {
            "optimizer.learning_rate": f"{training.optimizer.learning_rate / 2:g}",
            **({"batch_size": batch} if batch != training.batch_size else {}),
            "accumulate_steps": 2 * training.accumulate_steps,
        }
        rungs.append(Rung("half the learning rate, on half the batch with twice the accumulation", _sets("training", changes)))
    gentler = {}
    if training.warmup_steps < SAFE_WARMUP_STEPS:
        gentler["warmup_steps"] = SAFE_WARMUP_STEPS
    if training.clip_norm is None or training.clip_norm > SAFE_CLIP_NORM:
        gentler["clip_norm"] = SAFE_CLIP_NORM
    if gentler:
        rungs.append(Rung(f"a warm-up of {SAFE_WARMUP_STEPS} steps, and gradients clipped to a norm of {SAFE_CLIP_NORM}", _sets("training", gentler)))
    if training.dtype_policy != "float32":
        rungs.append(Rung("float32 throughout", _sets("training", {"dtype_policy": "float32"})))
    if len(config.loss) > 1:
        rungs.append(Rung("the waveform L1 loss alone", ("loss=[{name: waveform_l1, weight: 10.0}]",)))
    if dropout > SAFE_DROPOUT:
        rungs.append(Rung(f"dropout {SAFE_DROPOUT}", (f"model.dropout={SAFE_DROPOUT}",)))
    return rungs


def _sets(section, changes):
    return tuple(f"{section}.{key}={value}" for key, value in changes.items())

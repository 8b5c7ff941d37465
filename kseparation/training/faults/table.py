"""What a training is to do about each fault: written before the detector, and the measure of it."""

from dataclasses import dataclass

from kseparation.training.verdicts import ACTIONS as ACTIONS
from kseparation.training.verdicts import EVENTS as EVENTS
from kseparation.training.verdicts import VERDICTS as VERDICTS

EVERYWHERE = ("tensorflow", "torch", "jax")


@dataclass(frozen=True)
class Expected:
    """What is to be found and done about one fault.

    Args:
        event: what the training notices, of EVENTS; one of several where it depends on the model which comes first.
        verdict: what `replay` finds, of VERDICTS; None where there is nothing to replay.
        action: what the training does, of ACTIONS, the last where it does several things; one of several where it depends on the model how far it must go.
        names_layer: whether the layer is named that the fault was put into.
        names_batch: whether the batch is named that the fault came with: by `replay`, or by the event where it could not be read.
        backends: where the fault can happen.
        why_not: why it cannot happen elsewhere.
    """

    event: tuple[str, ...]
    verdict: str | None
    action: tuple[str, ...]
    names_layer: bool = False
    names_batch: bool = True
    backends: tuple[str, ...] = EVERYWHERE
    why_not: str = ""


_HEALTHY = Expected(("none",), None, ("none",), names_batch=False)

EXPECTED = {
    "file_nan": Expected(("unreadable",), "data", ("redraw",)),
    "gain_infinite": Expected(("non_finite",), "data", ("skip",)),
    "silence": _HEALTHY,
    "constant": _HEALTHY,
    "full_scale_square": _HEALTHY,
    "layer_infinite": Expected(("non_finite",), "layer", ("skip",), names_layer=True),
    "gradient_nan": Expected(("non_finite",), "gradient", ("skip",), names_layer=True),
    "bit_flip": Expected(("non_finite",), "weights", ("roll_back",), names_layer=True, names_batch=False),
    "loss_spike": Expected(("spike",), "loss", ("roll_back",)),
    "loss_divergence": Expected(("spike",), "loss", ("stop",)),
    # Nothing is wrong with any step: the training says it once and goes on.
    "revival_storm": Expected(("storm",), None, ("report",), names_batch=False),
    "frozen_codebook": Expected(("standstill",), None, ("report",), names_batch=False),
    "learning_rate": Expected(("spike", "divergence"), "learning_rate", ("roll_back_slower", "stop"), names_batch=False),
    "slot_nan": Expected(("non_finite",), "optimizer", ("roll_back",), names_layer=True, names_batch=False),
    # Which examples are enough to fail is found by halving, and half a batch is another compiled program.
    "compiled_nan": Expected(
        ("non_finite",), "compiled", ("skip",), names_batch=False, backends=("tensorflow", "jax"), why_not="torch runs operation by operation"
    ),
    # Half a batch that is sound may have failed a moment before.
    "nondeterministic": Expected(("non_finite",), "nondeterministic", ("skip",), names_batch=False),
    "validation_nan": Expected(("validation",), "data", ("report",)),
    "accumulation_nan": Expected(("non_finite",), "data", ("skip",)),
    "worker_error": Expected(("unreadable",), "data", ("redraw",)),
}

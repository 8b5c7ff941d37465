"""What a training is to do about each fault: written before the detector, and the measure of it.

The words are the whole vocabulary of incident reports and of `replay`.
"""

from dataclasses import dataclass

EVENTS = {
    "none": "nothing: the training is healthy",
    "non_finite": "the loss, a gradient or a new weight was not finite, and the step was rejected",
    "spike": "the loss of one step lay far above those before it",
    "divergence": "the loss of several steps in a row lay above those before them",
    "unreadable": "a training batch could not be read",
    "validation": "a validation gave a loss that is not finite",
}
VERDICTS = {
    "data": "the batch: what was read or made of it is not finite, or could not be read",
    "loss": "a part of the loss, for what the model gave is finite and the rest of the loss is sound",
    "layer": "a layer gave what is not finite out of what is",
    "gradient": "forward everything is finite, and the gradient of a layer is not",
    "weights": "weights differ from those that the training had computed: something else wrote to them",
    "optimizer": "the optimizer's own state differs from what the training had computed, or is not finite",
    "learning_rate": "the learning rate: a smaller one passes the same steps",
    "compiled": "only the compiled step fails; operation by operation it is sound",
    "nondeterministic": "the same step from the same state gives different results",
    "not_reproduced": "the step is sound when it is run again",
    "unexplained": "the step fails again, and nothing that was tried explains it",
}
ACTIONS = {
    "none": "nothing was done",
    "skip": "the step was left out; no weight changed",
    "redraw": "other examples took the place of the batch",
    "report": "it was reported, and the training goes on",
    "roll_back": "back to the last good state, with other examples around the bad step",
    "roll_back_slower": "back to the last good state, with other examples, and half the learning rate after a new warm-up",
    "stop": "the training was ended with exit code 4",
}
EVERYWHERE = ("tensorflow", "torch", "jax")


@dataclass(frozen=True)
class Expected:
    """What is to be found and done about one fault.

    Args:
        event: what the training notices, of EVENTS; one of several where it depends on the model which comes first.
        verdict: what `replay` finds, of VERDICTS; None where there is nothing to replay.
        action: what the training does, of ACTIONS; where it does several things, the last.
        names_layer: whether the layer is named that the fault was put into.
        names_batch: whether the batch is named that the fault came with.
        backends: where the fault can happen.
        why_not: why it cannot happen elsewhere.
    """

    event: tuple[str, ...]
    verdict: str | None
    action: str
    names_layer: bool = False
    names_batch: bool = True
    backends: tuple[str, ...] = EVERYWHERE
    why_not: str = ""


_NO_CODEBOOK = "separators have no codebook"
_HEALTHY = Expected(("none",), None, "none", names_batch=False)

EXPECTED = {
    "file_nan": Expected(("unreadable",), "data", "redraw"),
    "gain_infinite": Expected(("non_finite",), "data", "skip"),
    "silence": _HEALTHY,
    "constant": _HEALTHY,
    "full_scale_square": _HEALTHY,
    "layer_infinite": Expected(("non_finite",), "layer", "skip", names_layer=True),
    "gradient_nan": Expected(("non_finite",), "gradient", "skip", names_layer=True),
    "bit_flip": Expected(("non_finite",), "weights", "roll_back", names_layer=True, names_batch=False),
    "loss_spike": Expected(("spike",), "loss", "roll_back"),
    "loss_divergence": Expected(("spike",), "loss", "stop"),
    "revival_storm": Expected(("none",), None, "none", backends=(), why_not=_NO_CODEBOOK),
    "frozen_codebook": Expected(("none",), None, "none", backends=(), why_not=_NO_CODEBOOK),
    "learning_rate": Expected(("spike", "divergence"), "learning_rate", "stop", names_batch=False),
    "slot_nan": Expected(("non_finite",), "optimizer", "roll_back", names_layer=True, names_batch=False),
    "compiled_nan": Expected(("non_finite",), "compiled", "skip", backends=("tensorflow", "jax"), why_not="torch runs operation by operation"
    ),
    "nondeterministic": Expected(("non_finite",), "nondeterministic", "skip"),
    "validation_nan": Expected(("validation",), "data", "report"),
    "accumulation_nan": Expected(("non_finite",), "data", "skip"),
    "worker_error": Expected(("unreadable",), "data", "redraw"),
}

"""`import_weights`: a foreign checkpoint -> .keras."""

import re
from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.flags import Verb
from kseparation.errors import UserError


def _define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string("source", None, "Whose weights they are: moises-light, the public PyTorch package. Required.", flag_values=flags)
    absl_flags.DEFINE_string("checkpoint", None, "File of torch.save with a state dict. Required.", flag_values=flags)
    absl_flags.DEFINE_string("out", None, "The .keras file to write. Required.", flag_values=flags)
    absl_flags.DEFINE_string(
        "model_config", None, "key=value,...: arguments of the model that the tensors do not tell, such as stems=[vocals].", flag_values=flags
    )


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> dict[str, Any]:
    for name in ("source", "checkpoint", "out"):
        if flags[name].value is None:
            raise UserError(
                f"`--{name}` is required. Example: `kseparation import_weights --source=moises-light --checkpoint=weights.pt --out=model.keras`."
            )
    from kseparation.workflows.import_weights import import_weights

    return import_weights(flags.source, flags.checkpoint, flags.out, pairs(flags.model_config or ""))


def pairs(text: str) -> list[str]:
    """Splits `a=1,b=[x,y]` at the commas between pairs.

    Example:

    >>> pairs("preset=paper_small,stems=[vocals,drums]")
    ['preset=paper_small', 'stems=[vocals,drums]']
    """
    return [pair.strip() for pair in re.split(r",(?![^\[]*\])", text) if pair.strip()]


def _text(result: dict[str, Any]) -> str:
    assumed = f"hop {result['hop_samples']}, output {result['output']}"
    return f"{result['model']}  {result['preset'] or 'no preset'}  {', '.join(result['stems'])}  {assumed}  {result['parameters']:,} parameters"


VERB = Verb("import_weights", "Turns weights that were trained in PyTorch into a .keras file.", _define, _run, show=_text)

"""`replay`: the step of an incident, run again until its cause is clear."""

from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.allocator import keep_freed_memory
from kseparation.cli.flags import Verb
from kseparation.errors import UserError


def _define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string("incident", None, "Folder of the incident: runs/<name>/incidents/<step>.", flag_values=flags)
    absl_flags.DEFINE_integer(
        "from_steps_before", None, "Begin at least so many steps before the bad one, from an older checkpoint.", lower_bound=1, flag_values=flags
    )
    absl_flags.DEFINE_enum(
        "dtype", None, ["float32", "mixed_float16", "mixed_bfloat16"], "Precision, instead of that of the training.", flag_values=flags
    )


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> dict[str, Any]:
    if flags.incident is None:
        raise UserError("`--incident` is required: the folder of an incident, such as runs/<name>/incidents/<step>.")
    keep_freed_memory()
    from kseparation.workflows.replay import replay  # imports Keras

    return replay(flags.incident, flags.from_steps_before, flags.dtype).summary


def _show(result: dict[str, Any]) -> str:
    lines = [f"{result['verdict']}: {result['reason']}"]
    lines += [f"  {key}: {result[key]}" for key in ("layer", "part", "operation", "place") if result[key]]
    return "\n".join([*lines, f"  report: {result['incident']}/REPORT.md"])


VERB = Verb("replay", "Runs the step of an incident again and names its cause.", _define, _run, show=_show)

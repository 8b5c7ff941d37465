"""`demo`: the whole way from nothing to separated music and a report."""

from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.allocator import keep_freed_memory
from kseparation.cli.flags import Verb


def _define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_float("minutes", 10.0, "How long to train.", lower_bound=0.01, flag_values=flags)
    absl_flags.DEFINE_string("out", "demo", "Folder for the run, the stems and the report.", flag_values=flags)


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> dict[str, Any]:
    keep_freed_memory()
    from kseparation.workflows.demo import demo

    return demo(minutes=flags.minutes, out=flags.out)


VERB = Verb("demo", "Makes music, trains on it, evaluates, separates a song, writes a report.", _define, _run)

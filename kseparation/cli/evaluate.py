"""`evaluate`: a model and a data set -> scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.flags import Verb, model_name
from kseparation.errors import UserError


def _define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string("model", None, "Run folder or .keras file. Required.", flag_values=flags)
    absl_flags.DEFINE_string("data", "builtin", "builtin, or the root of a data set; for a model of counts a file, such as an .h5ad.", flag_values=flags)
    absl_flags.DEFINE_string("subset", "test", "Part of the data set.", flag_values=flags)
    absl_flags.DEFINE_list("metrics", None, "sdr, si_sdr, bss_eval (museval, minutes a song), comma-separated; else those of the run, else sdr,si_sdr.", flag_values=flags)
    absl_flags.DEFINE_float(
        "overlap",
        None,
        "Share of a segment that the next repeats; else that of the run, else 0.5.",
        lower_bound=0.0,
        upper_bound=0.99,
        flag_values=flags,
    )
    absl_flags.DEFINE_string("baseline", None, "summary.json of another model on the same songs, or its folder: adds the differences.", flag_values=flags)
    absl_flags.DEFINE_string(
        "out", "results", "Folder for summary.json and report.html.", flag_values=flags
    )


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> dict[str, Any]:
    if not flags.model:
        raise UserError("`--model` is required: a run folder or a .keras file. `kseparation train` makes one.")
    from kseparation.models import load_model

    run = Path(flags.model) if Path(flags.model).is_dir() else None
    model = load_model(flags.model, task=None)
    if model.task == "counts":
        return _counts(model, flags, run)
    from kseparation.workflows.evaluate import evaluate

    return evaluate(
        model,
        flags.data,
        subset=flags.subset,
        metrics=flags.metrics,
        out=flags.out,
        overlap=flags.overlap,
        model_name=model_name(flags.model),
        run_folder=run,
        baseline=flags.baseline,
    )


def _counts(model, flags, run):
    from kseparation.workflows.evaluate_counts import evaluate_counts

    for name in ("metrics", "overlap", "baseline"):
        if getattr(flags, name) is not None:
            raise UserError(f"`--{name}` is for separators. Received: --{name}={getattr(flags, name)}, and a model of counts. Leave it out.")
    return evaluate_counts(model, flags.data, flags.subset, flags.out, model_name(flags.model), run)


VERB = Verb("evaluate", "Scores a model on a data set, beside predictors without a network.", _define, _run)

"""`train`: one config, one run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.allocator import keep_freed_memory
from kseparation.cli.flags import Verb


def _define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string(
        "config", None, "YAML file of the run. Default: that of the run in --resume, else configs/demo/separation.yaml.", flag_values=flags
    )
    absl_flags.DEFINE_multi_string(
        "set", [], "Change one value of the config, a.b=value, or of a list, a.0=value.", flag_values=flags
    )
    absl_flags.DEFINE_string("run_dir", None, "Run folder; else runs/<config name>-<backend>-<n>.", flag_values=flags)
    absl_flags.DEFINE_string(
        "resume",
        "auto",
        "auto continues the newest unfinished run; never, must, or the path of a run.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("epochs", None, "Short for --set training.epochs=...", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_boolean(
        "strict", False, "Stop at the first fault instead of skipping the step.", flag_values=flags
    )
    absl_flags.DEFINE_list(
        "allow",
        [],
        "Config keys that may differ from those of the run that is resumed, comma-separated.",
        flag_values=flags,
    )


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> dict[str, Any]:
    from kseparation.config import load_config

    keep_freed_memory()
    overrides = list(flags.set)
    if flags.epochs is not None:
        overrides.append(f"training.epochs={flags.epochs}")
    config = load_config(_config_path(flags), overrides)
    from kseparation.workflows.train import train  # imports Keras: only once the config is known to be right

    run_dir = Path(flags.run_dir) if flags.run_dir else None
    result = train(config, run_dir=run_dir, resume=flags.resume, strict=flags.strict, allow=tuple(flags.allow))
    return {"run_folder": str(result.run_folder), **result.summary}


def _config_path(flags: absl_flags.FlagValues) -> Path:
    resumed = Path(flags.resume) / "config.yaml"
    if flags.config is None and resumed.is_file():
        return resumed
    from kseparation.config.demo import demo_config

    return Path(flags.config) if flags.config else demo_config()


VERB = Verb("train", "Trains a run; without flags a small one on music that it makes itself.", _define, _run)

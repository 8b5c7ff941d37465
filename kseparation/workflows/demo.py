"""The whole way at once: music, training, scores, a separated song and a page to look at."""

import sys
from pathlib import Path

from kseparation.config.demo import demo_config
from kseparation.config.loading import load_config
from kseparation.config.records import RunConfig
from kseparation.errors import UserError
from kseparation.models import load_model
from kseparation.models.loading import find_model_file
from kseparation.storage.atomic import require_writable
from kseparation.storage.hashes import file_sha256
from kseparation.workflows.evaluate import evaluate
from kseparation.workflows.run_folder import CONFIG_FILE, check_same_config
from kseparation.workflows.separate import SeparateSettings, separate
from kseparation.workflows.tasks import task_of
from kseparation.workflows.train import train

# Optimizer steps that two cores make in a minute; a count of steps, not a clock, so that every machine trains the same model.
STEPS_PER_MINUTE = 40
EPOCHS = 5


def demo(minutes: float = 10.0, out: str | Path = "demo") -> dict:
    """Trains the demo model on built-in music, scores it on songs it never heard, separates one of them and writes a report.

    Args:
        minutes: length of the training on two cores; on another machine the same number of steps is made.
        out: folder for `run`, `results` and `separated`; an interrupted demo goes on there.

    Returns:
        `{"run", "results", "report", "separated", "mean_sdr_global", "mean_trivial_sdr_global"}`.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"`--out` is not a folder. Received: {out}")
    require_writable(out / "run" / CONFIG_FILE)
    config = _config(minutes)
    _check_settings(out, config, minutes)
    print("1/3 training on songs made on this machine", file=sys.stderr)
    run = train(config, run_dir=out / "run").run_folder
    model_file = find_model_file(run)
    model = load_model(model_file)
    dataset = task_of(config).dataset
    print("2/3 scoring songs that the training has not heard", file=sys.stderr)
    summary = evaluate(model, str(dataset.root), out=out / "results", model_name="demo", run_folder=run)
    print("3/3 separating one of them", file=sys.stderr)
    song = dataset.tracks("test")[0]
    settings = SeparateSettings(out=out / "separated", filename="{model}/" + song.name + "/{stem}.{ext}", overlap=config.evaluation.overlap)
    separate([song.mixture], model, settings, "demo", file_sha256(model_file))
    result = {
        "run": str(run),
        "results": str(out / "results" / "summary.json"),
        "report": str(out / "results" / "report.html"),
        "separated": str(out / "separated" / "demo" / song.name),
        "mean_sdr_global": summary["mean"]["sdr_global"],
        "mean_trivial_sdr_global": summary["mean"]["trivial_sdr_global"],
    }
    print(f"stems in {result['separated']}\nreport in {result['report']}", file=sys.stderr)
    return result


def _check_settings(out, config, minutes):
    run = out / "run"
    if not (run / CONFIG_FILE).is_file():
        return
    try:
        check_same_config(run, config)
    except UserError as error:
        raise UserError(f"`--out` holds a demo with other settings. Received: {out}, --minutes={minutes:g}. Choose another --out, or remove that folder. ({error})") from error


def _config(minutes: float) -> RunConfig:
    steps = max(1, round(minutes * STEPS_PER_MINUTE / EPOCHS))
    return load_config(demo_config(), [f"training.epochs={EPOCHS}", f"training.steps_per_epoch={steps}"])

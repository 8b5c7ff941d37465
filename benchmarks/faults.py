"""The long form of the table of faults, the healthy runs, what a recovery costs, what the watching costs, and what plain Keras does.

    python benchmarks/faults.py --part=table|healthy|recovery|cost|plain [--backends=tensorflow,torch,jax] [--json=FILE]

- table: each fault in a training of a small Moises-Light, and its replay: event, verdict, layer, batch and action beside `kseparation/training/faults/table.py`.
- healthy: 20 seeds of 500 steps of the demo's recipe on its own music, with a model of a few weights and segments of 0.25 s: steps left out, returns and incidents must be 0.
- recovery: the mean loss of the last 50 steps after a recoverable fault beside that of the run without one, over 3 seeds.
- cost: a training step of `moises_light_small` (segments of 1.5 s) and of the demo with guard and recorder, and without, in blocks of alternating order; median of the pairs with its
  95 % interval, beside that of pairs without and without, which is the noise. Passed where the upper bound for `moises_light_small` lies below 3 %.
- plain: the same faults in plain `model.fit` with Adam, without and with `keras.callbacks.TerminateOnNaN`.

Each backend runs in a process of its own. Everything is made here; nothing is downloaded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("tensorflow", "torch", "jax")
PARTS = ("table", "healthy", "recovery", "cost", "plain")
RECOVERABLE = ("gain_infinite", "layer_infinite", "gradient_nan", "bit_flip", "loss_spike", "slot_nan", "accumulation_nan", "file_nan", "worker_error")
# The upper bound of the interval of this config must lie below so many percent.
LIMITED, MOST_OVERHEAD = "moises_light_small", 3.0
# One pair of bare and bare for so many of bare and watched.
NOISE_EVERY = 3
SMALL = {
    "name": "moises_light",
    **{"window_samples": 512, "hop_samples": 128, "bins": 192, "width": 8, "levels": 1, "convolutions": 1, "transformers": 1},
}


def main() -> None:
    """Runs one part on each backend and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, default="table")
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    parser.add_argument("--pairs", type=int, default=60, help="of blocks with and without, for cost")
    parser.add_argument("--seeds", type=int, default=None, help="of healthy (20) and recovery (3)")
    parser.add_argument("--faults", default=None, help="some faults only, comma-separated")
    parser.add_argument("--cases", default=None, help="of cost, comma-separated: moises_light_small, demo")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--share", default="0/1", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps({"table": table, "healthy": healthy, "recovery": recovery, "cost": cost, "plain": plain}[options.part](options)))
        return
    results = {}
    for backend in options.backends.split(","):
        start = time.monotonic()
        command = [sys.executable, "-W", "ignore", __file__, "--worker", f"--part={options.part}", f"--pairs={options.pairs}"]
        command += [f"--{name}={value}" for name in ("seeds", "faults", "cases") if (value := getattr(options, name)) is not None]
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        if options.part == "healthy":  # one thread a process, for its steps are small
            environment |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        processes = range(os.cpu_count() if options.part == "healthy" else 1)
        shares = [subprocess.Popen([*command, f"--share={number}/{len(processes)}"], env=environment, stdout=subprocess.PIPE, text=True) for number in processes]
        said = [share.communicate()[0] for share in shares]
        if any(share.returncode for share in shares):
            sys.exit(f"{backend}: a process ended with {[share.returncode for share in shares]}; what it said stands above.")
        found = [json.loads(words.splitlines()[-1]) for words in said]
        results[backend] = found[0] if len(found) == 1 else all_seeds(found)
        print(f"\n{backend}, {time.monotonic() - start:.0f} s")
        for row in results[backend]["rows"]:
            print("  " + "  ".join(str(value).ljust(18) for value in row))
        print(f"  {results[backend]['sum']}", flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps({"part": options.part, "results": results}, indent=2), encoding="utf-8")


def quiet(function, *arguments, **keywords):
    """Calls a function whose progress nobody wants to see here."""
    with open(os.devnull, "w") as nowhere:
        before, sys.stderr = sys.stderr, nowhere
        try:
            return function(*arguments, **keywords)
        finally:
            sys.stderr = before


def table(options: argparse.Namespace) -> dict:
    """Every fault that can happen on this backend, on a small Moises-Light."""
    import keras

    from kseparation.training.faults import EXPECTED, FAULTS
    from tests.faulty_run import all_weights_finite, faulty_layer, run_with, wrong_cells

    rows, cells, right, unsound = [("fault", "event", "verdict", "action", "layer", "batch", "wrong")], 0, 0, 0
    for name in options.faults.split(",") if options.faults else FAULTS:
        expected = EXPECTED[name]
        if keras.backend.backend() not in expected.backends:
            rows.append((name, "not applicable", expected.why_not, "", "", "", ""))
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = quiet(run_with, name, Path(folder), model=SMALL)
            wrong = wrong_cells(name, found, faulty_layer(found.run))
            unsound += not all_weights_finite(found.run)
        number = 3 + expected.names_layer + expected.names_batch
        cells, right = cells + number, right + number - len(wrong)
        rows.append((name, found.event, found.verdict, found.action, found.layer or "", found.position if found.position is not None else "", "; ".join(wrong)))
        print(rows[-1], file=sys.stderr, flush=True)
    return {"rows": rows, "cells": cells, "right": right, "sum": f"{right} of {cells} cells right, {unsound} runs with a weight that is not finite"}


def healthy(options: argparse.Namespace) -> dict:
    """Seeds of the demo's recipe on its music without a fault, with a model of a few weights: nothing may be noticed."""
    from kseparation.config import load_config
    from kseparation.storage.atomic import read_json
    from kseparation.workflows.train import train

    model = "{name: moises_light, window_samples: 1024, hop_samples: 512, bins: 384, width: 8, levels: 1, convolutions: 1, transformers: 1}"
    overrides = [f"model={model}", "data.segment_seconds=0.25", "training.epochs=5", "training.steps_per_epoch=100", "logging.tensorboard=false"]
    rows = [("seed", "steps", "left out", "returns", "incidents")]
    number, shares = map(int, options.share.split("/"))
    for seed in range(number, options.seeds or 20, shares):
        with tempfile.TemporaryDirectory() as folder:
            config = load_config(ROOT / "configs" / "demo" / "separation.yaml", [*overrides, f"seed={seed}"])
            quiet(train, config, run_dir=Path(folder) / "run")
            summary = read_json(Path(folder) / "run" / "summary.json")
        rows.append((seed, summary["steps"], summary["skipped_steps"], summary["returns"], summary["incidents"]))
        print(rows[-1], file=sys.stderr, flush=True)
    return all_seeds([{"rows": rows}])


def all_seeds(shares: list[dict]) -> dict:
    """The seeds that several processes trained, together."""
    rows = [shares[0]["rows"][0], *sorted(tuple(row) for share in shares for row in share["rows"][1:])]
    return {"rows": rows, "sum": f"{sum(sum(row[2:]) for row in rows[1:])} alarms in {sum(row[1] for row in rows[1:])} steps"}


def recovery(options: argparse.Namespace) -> dict:
    """Mean loss of the last 50 steps with each recoverable fault, over that without."""
    import numpy as np

    from kseparation.workflows.train import train
    from tests.faulty_run import SETTINGS, run_with
    from tests.tiny_run import tiny_config

    seeds = range(options.seeds or 3)
    settings = {"epochs": 10, "steps_per_epoch": 30, "warmup_steps": 30, "batch_size": 4}

    def last_losses(run):
        lines = (run / "losses.log").read_text(encoding="ascii").splitlines()[-50:]
        return float(np.mean([float.fromhex(line.split("total=")[1].split(" ")[0]) for line in lines]))

    def clean(extra):
        losses = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                quiet(train, tiny_config(Path(folder), [f"seed={seed}", *extra], model=SMALL, **settings), run_dir=Path(folder) / "run")
                losses.append(last_losses(Path(folder) / "run"))
        return losses

    rows, worst, cleans = [("fault", "without", "with", "ratio")], 0.0, {}
    for name in options.faults.split(",") if options.faults else RECOVERABLE:
        extra = tuple(SETTINGS.get(name, ()))
        if extra not in cleans:
            cleans[extra] = clean(extra)
        losses = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                found = quiet(run_with, name, Path(folder), [f"seed={seed}"], model=SMALL, replayed=False, **settings)
                losses.append(last_losses(found.run))
        ratio = float(np.mean(losses) / np.mean(cleans[extra]))
        worst = max(worst, abs(ratio - 1))
        rows.append((name, f"{np.mean(cleans[extra]):.4f}", f"{np.mean(losses):.4f}", f"{ratio:.4f}"))
        print(rows[-1], file=sys.stderr, flush=True)
    return {"rows": rows, "worst": worst, "sum": f"at most {100 * worst:.2f} % from the run without a fault"}


def cost(options: argparse.Namespace) -> dict:
    """A step with the guard and the recorder beside one with the bare optimizer and `fit` alone, in an order that alternates; and bare beside bare, which is the noise."""
    import numpy as np

    from benchmarks.step_cost import StepCost

    def with_interval(percent):
        medians = np.median(np.random.default_rng(0).choice(percent, (2000, len(percent))), axis=1)
        return float(np.median(percent)), *(float(value) for value in np.percentile(medians, (2.5, 97.5)))

    rows, result = [("config", "bare step", "with", "overhead %", "95 % interval")], {}
    for name in (options.cases or "moises_light_small,demo").split(","):
        timing, pairs, noise = StepCost(name), [], []
        for number in range(options.pairs):
            pairs.append(quiet(timing.pair, number % 2 == 1))
            if number % NOISE_EVERY == 0:
                noise.append(quiet(timing.noise_pair, len(noise) % 2 == 1))
        pairs, noise = np.array(pairs), np.array(noise)
        snapshot = float(np.median([timing.snapshot_seconds() for _ in range(5)]))
        share = snapshot / timing.snapshot_every_steps
        overhead, low, high = with_interval(100 * ((pairs[:, 1] + share) / pairs[:, 0] - 1))
        apart = with_interval(100 * (noise[:, 1] / noise[:, 0] - 1))
        rows.append((name, f"{np.median(pairs[:, 0]):.3f} s", f"{np.median(pairs[:, 1]):.3f} s", f"{overhead:.2f}", f"{low:.2f} to {high:.2f}"))
        rows.append(("  bare beside bare", f"{np.median(noise[:, 0]):.3f} s", f"{np.median(noise[:, 1]):.3f} s", f"{apart[0]:.2f}", f"{apart[1]:.2f} to {apart[2]:.2f}"))
        rows.append(("  snapshot", f"{snapshot:.3f} s", f"in {timing.snapshot_every_steps} steps", f"{100 * share / np.median(pairs[:, 0]):.2f}", "in the overhead"))
        result[name] = {"overhead": overhead, "interval": [low, high], "pairs": pairs.tolist(), "noise": apart, "noise_pairs": noise.tolist(), "snapshot_seconds": snapshot}
        for row in rows[-3:]:
            print(row, file=sys.stderr, flush=True)
    words = "overhead of guard, recorder, detector and snapshots"
    if LIMITED in result:
        bound = result[LIMITED]["interval"][1]
        words += f": for {LIMITED} at most {bound:.2f} %, " + (f"below {MOST_OVERHEAD:g} %: passed" if bound < MOST_OVERHEAD else f"NOT below {MOST_OVERHEAD:g} %: failed")
    return {"rows": rows, "figures": result, "sum": words}


def plain(options: argparse.Namespace) -> dict:
    """What `model.fit` with Adam makes of the faults, without and with `TerminateOnNaN`."""
    from benchmarks.plain_keras import FAULTS, train_plainly

    rows = [("fault", "callback", "steps", "weights lost", "loss before", "loss at the end")]
    for name in options.faults.split(",") if options.faults else FAULTS:
        for stops in (False, True):
            found = train_plainly(name, SMALL, stops)
            rows.append((name, "TerminateOnNaN" if stops else "none", found["steps"], f"{found['lost']} of {found['weights']}", f"{found['before']:.3g}", f"{found['after']:.3g}"))
    return {"rows": rows, "sum": "plain Keras"}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    main()

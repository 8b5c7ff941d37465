"""What keeps a codebook alive, and what kills it, on 12,000 simulated cells of 20 types.

    python benchmarks/codebook_health.py [--part=revival|acceptance] [--backends=jax] [--seeds=3] [--json=FILE]

- revival: the autoencoder as its first report has it, and this package's, with 64, 256 and 1024 codes at batches of 512, 2048 and 8192 cells; the documented one with each way of reviving codes that the report
  proposes, and gradients clipped to 1.0 and 0.5. The report's open question, answered: steps that were not finite, loss, perplexity of the codes of all held-out cells, codes revived.
- acceptance: with seeds 0, 1 and 2, the documented one with 256 codes must lose steps or end with ten times the loss in two of three; this package's must be finite with 64, 256 and 1024 codes and use ten of them.

Everything is made here; nothing is downloaded. Each backend runs in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AS_DOCUMENTED = {
    "cell_input": "counts",
    "likelihood": {"mean": "exp_then_clamp", "dispersion": "gene_cell"},
    "quantizer": {"similarity": "mixed", "codebook_update": "none"},
    "revival": {"rule": "fixed"},
}
REVIVALS = {
    "as documented": {"rule": "fixed"},
    "off": {"rule": "off"},
    "fixed 1e-5": {"rule": "fixed", "threshold": 1e-5},
    "every 100 batches": {"rule": "fixed", "every_n_steps": 100},
}
CODES, BATCHES, CLIPS = (64, 256, 1024), (512, 2048, 8192), (1.0, 0.5)
STEPS = 150
LEAST_PERPLEXITY, MOST_TIMES = 10.0, 10.0


def main() -> None:
    """Runs one part on each backend and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("revival", "acceptance"), default="revival")
    parser.add_argument("--backends", default="jax")
    parser.add_argument("--seeds", type=int, default=3, help="of acceptance")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps({"revival": revival, "acceptance": acceptance}[options.part](options)))
        return
    results = {}
    for backend in options.backends.split(","):
        start = time.monotonic()
        command = [sys.executable, "-W", "ignore", __file__, "--worker", f"--part={options.part}", f"--seeds={options.seeds}", f"--steps={options.steps}"]
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        results[backend] = json.loads(said.splitlines()[-1])
        print(f"\n{backend}, {time.monotonic() - start:.0f} s")
        for row in results[backend]["rows"]:
            print("  " + "  ".join(str(value).ljust(width) for value, width in zip(row, (20, 6, 6, 5, 5, 11, 10, 11, 8), strict=False)))
        print(f"  {results[backend]['sum']}", flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps({"part": options.part, "results": results}, indent=2), encoding="utf-8")


class Cells:
    """The simulated table, its training cells and those held out."""

    def __init__(self):
        from kseparation.data.counts import SimulatedCounts

        data = SimulatedCounts()
        self.train, self.held_out = data.table("train"), data.table("test")

    def trained(self, codes: int, batch_size: int, seed: int, steps: int, clip: float = 1.0, **arguments) -> dict:
        """Trains for some steps; returns what came of it."""
        import keras
        import numpy as np

        from kseparation.data.counts import CountBatches
        from kseparation.losses import NegativeBinomial, Objective
        from kseparation.metrics.code_metrics import perplexity
        from kseparation.models import CountAutoencoder
        from kseparation.training import FixedNorm, GuardedOptimizer
        from kseparation.training.feeding import fit_input, spec_of

        keras.utils.set_random_seed(seed)
        model = CountAutoencoder.from_preset("vq_aenb_small", genes=tuple(self.train.genes), codebook_size=codes, **arguments)
        model.build()
        optimizer = GuardedOptimizer(keras.optimizers.Adam(1e-3), clipping=FixedNorm(clip))
        model.compile(optimizer, Objective({"negative_binomial": NegativeBinomial()}, alone=False), jit_compile=keras.backend.backend() != "torch", auto_scale_loss=False)
        batches, losses = CountBatches(self.train, batch_size, seed), []
        cells = np.random.default_rng(seed).permutation(len(self.train))[: model.start_cells(len(self.train))]
        model.start_from_data([batches.arrays(cells[first : first + 2048]) for first in range(0, len(cells), 2048)])
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(float(logs["total"])))
        source = (batches.batch(0, index) for index in range(steps))
        model.fit(fit_input(source, spec_of(batches.batch(0, 0))), steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0, callbacks=[note])
        inputs, _ = CountBatches(self.held_out, 1).arrays(np.arange(len(self.held_out)))
        revived = float(model.quantizer.revived) if model.quantizer.revival.rule != "off" else 0.0
        return {"skipped": int(optimizer.skipped_steps), "loss": float(np.mean(losses[-10:])), "perplexity": perplexity(model.encode(inputs)), "revived": revived}


def told(name, codes, batch_size, clip, seed, found):
    """A row of the table, which is also said as it comes."""
    row = (name, codes, batch_size, clip, seed, f"{found['skipped']} skipped", f"{found['loss']:.4g}", f"{found['perplexity']:.1f}", int(found["revived"]))
    print(row, file=sys.stderr, flush=True)
    return row


HEAD = ("variant", "codes", "batch", "clip", "seed", "not finite", "loss", "perplexity", "revived")


def revival(options: argparse.Namespace) -> dict:
    """Each way of reviving codes, by number of codes and batch size."""
    cells, rows, found = Cells(), [HEAD], []
    for codes in CODES:
        for batch_size in BATCHES:
            variants = [("this package", clip, {}) for clip in CLIPS]
            variants += [(f"documented, {name}" if name != "as documented" else name, clip, {**AS_DOCUMENTED, "revival": rule}) for name, rule in REVIVALS.items() for clip in CLIPS]
            for name, clip, arguments in variants:
                result = cells.trained(codes, batch_size, 0, options.steps, clip, **arguments)
                found.append({"variant": name, "codes": codes, "batch": batch_size, "clip": clip, **result})
                rows.append(told(name, codes, batch_size, clip, 0, result))
    ours = [result for result in found if result["variant"] == "this package"]
    return {"rows": rows, "figures": found, "sum": f"this package: {sum(result['skipped'] for result in ours)} steps that were not finite, perplexity {min(result['perplexity'] for result in ours):.1f} or more"}


def acceptance(options: argparse.Namespace) -> dict:
    """The documented one beside this package's, with several seeds."""
    cells, rows, ours, broken, failed = Cells(), [HEAD], {}, 0, []
    for seed in range(options.seeds):
        for codes in CODES:
            ours[codes, seed] = result = cells.trained(codes, 512, seed, options.steps)
            rows.append(told("this package", codes, 512, 1.0, seed, result))
            if result["skipped"] or not result["loss"] < float("inf") or not result["perplexity"] >= LEAST_PERPLEXITY:
                failed.append((codes, seed))
        result = cells.trained(256, 512, seed, options.steps, **AS_DOCUMENTED)
        rows.append(told("as documented", 256, 512, 1.0, seed, result))
        broken += bool(result["skipped"] or not result["loss"] < MOST_TIMES * ours[256, seed]["loss"])
    words = f"as documented: {broken} of {options.seeds} seeds broken; this package: {len(failed)} of {len(ours)} trainings failed {failed or ''}"
    return {"rows": rows, "sum": words + (": passed" if not failed and 3 * broken >= 2 * options.seeds else ": FAILED")}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    main()

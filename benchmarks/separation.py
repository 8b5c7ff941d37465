"""Seconds of inference and of a training step of Moises-Light on each backend, beside the public package `moises-light`.

    python benchmarks/separation.py [--preset=paper_small] [--seconds=6] [--rounds=5] [--backends=tensorflow,torch,jax] [--json=FILE]

For each task a process of the backend runs next to one of the package; the two take turns, call by call, so that both see the same minutes of the machine. Two threads. The
training step is the same on both sides: mean absolute error of the waveform, AdamW, gradients clipped to norm 1, one stereo segment. Ours also undoes steps that are not finite, and
keeps freed memory, as `train` does (`kseparation/cli/allocator.py`). The first call, which compiles on TensorFlow and JAX, is reported apart. The package runs as it comes, step by step.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

THREADS = 2
SAMPLE_RATE = 44100


def main() -> None:
    """Runs the pairs and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="paper_small")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", default="tensorflow,torch,jax")
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--task", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return
    results = {}
    for backend in options.backends.split(","):
        results[backend] = compare(backend, options)
        print_rows(backend, results[backend])
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump({"preset": options.preset, "seconds": options.seconds, "threads": THREADS, "results": results}, file, indent=2)


def compare(backend: str, options: argparse.Namespace) -> dict:
    """Times one backend and the package in turns."""
    figures = {name: {} for name in ("package", backend)}
    for task in ("inference", "training"):
        workers = {name: start_worker(name, task, options) for name in figures}
        for name, worker in workers.items():
            figures[name][task] = {"first": ask(worker, task), "steady": []}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                figures[name][task]["steady"].append(ask(worker, task))
        for name, worker in workers.items():
            figures[name][task]["peak_gigabytes"] = ask(worker, "memory")
            worker.stdin.close()
            worker.wait()
    return figures


def start_worker(name: str, task: str, options: argparse.Namespace) -> subprocess.Popen:
    """Starts the process of one implementation for one task."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS), MKL_NUM_THREADS=str(THREADS), TF_CPP_MIN_LOG_LEVEL="3", TF_NUM_INTRAOP_THREADS=str(THREADS))
    environment["KERAS_BACKEND"] = "torch" if name == "package" else name
    command = [sys.executable, __file__, f"--worker={name}", f"--task={task}", f"--preset={options.preset}", f"--seconds={options.seconds}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(worker: subprocess.Popen, task: str) -> float:
    """Lets a worker do a task once; returns its seconds."""
    worker.stdin.write(task + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        sys.exit(f"A process has died at {task}; what it said stands above. Was the memory enough?")
    return float(answer)


def serve(options: argparse.Namespace) -> None:
    """Answers tasks on standard input with seconds on standard output."""
    answers, sys.stdout = sys.stdout, sys.stderr
    if hasattr(os, "sched_setaffinity"):  # JAX takes as many threads as there are processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    tasks = package_tasks(options) if options.worker == "package" else backend_tasks(options)
    for line in sys.stdin:
        if line.strip() == "memory":
            seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        else:
            start = time.perf_counter()
            tasks[line.strip()]()
            seconds = time.perf_counter() - start
        print(seconds, file=answers, flush=True)


def example(options: argparse.Namespace):
    """One stereo segment and its four stems, noise."""
    import numpy as np

    samples = round(options.seconds * SAMPLE_RATE)
    stems = np.random.default_rng(0).standard_normal((1, 4, samples, 2)).astype("float32") * 0.1
    return stems.sum(axis=1), stems


def package_tasks(options: argparse.Namespace) -> dict:
    """Inference and training step of the public package."""
    import torch
    from moises_light import MoisesLight, configs

    torch.set_num_threads(THREADS)
    mixture, stems = (torch.from_numpy(part.swapaxes(-1, -2).copy()) for part in example(options))
    model = MoisesLight(**configs[options.preset])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)

    def inference():
        model.eval()
        with torch.no_grad():
            model(mixture).numpy()

    def training():
        model.train()
        optimizer.zero_grad()
        (model(mixture) - stems).abs().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return {"inference": inference, "training": training}


def backend_tasks(options: argparse.Namespace) -> dict:
    """Inference and training step of this package on the backend of the process."""
    from kseparation.cli.allocator import keep_freed_memory

    if options.task == "training":
        keep_freed_memory()  # as `train` does
    import keras

    from kseparation.losses import Objective, WaveformL1
    from kseparation.models import MODELS
    from kseparation.training import FixedNorm, GuardedOptimizer

    if keras.backend.backend() == "torch":
        import torch  # the number of threads is set nowhere else

        torch.set_num_threads(THREADS)
    mixture, stems = example(options)
    model = MODELS["moises_light"].from_preset(options.preset)
    model.build((None, None, 2))
    if options.task == "inference":
        return {"inference": lambda: model.predict_segments(mixture)}
    optimizer = GuardedOptimizer(keras.optimizers.AdamW(1e-4, weight_decay=0.01), FixedNorm(1.0))
    model.compile(optimizer=optimizer, loss=Objective({"waveform_l1": WaveformL1()}), jit_compile=keras.backend.backend() != "torch", auto_scale_loss=False)
    optimizer.build(model.trainable_variables)
    return {"training": lambda: model.train_on_batch(mixture, stems)}


def print_rows(backend: str, figures: dict) -> None:
    """Prints one line for each task."""
    for task in ("inference", "training"):
        medians = {}
        for name in ("package", backend):
            steady = figures[name][task]["steady"]
            medians[name] = statistics.median(steady)
            spread = f"{min(steady):.2f}-{max(steady):.2f}"
            print(f"{task:10s} {name:11s} median {medians[name]:6.2f} s  ({spread})  first {figures[name][task]['first']:6.1f} s  peak {figures[name][task]['peak_gigabytes']:.1f} GB")
        print(f"{task:10s} {backend} / package = {medians[backend] / medians['package']:.2f}", flush=True)


if __name__ == "__main__":
    main()

"""Seconds and peak memory of one training step of the vector quantiser on each backend, beside vector-quantize-pytorch.

    python benchmarks/quantizers.py [--codes=1024] [--features=128] [--vectors=16384] [--threads=2] [--rounds=7] [--backends=tensorflow,torch,jax] [--json=FILE]

One step: nearest codes, their rows, commitment loss, running counts and sums, new codebook; no backward pass, on both sides. All processes take turns, step by step, so that they see the same minutes
of the machine. `revival` is ours with dead codes looked for too, which the package does not do here. Memory is the high-water mark less what stood before, measured twice in further processes: for
the first steps of a fresh process, with what compiling takes, and for a later step, where large tensors are given back to the system as soon as they are freed. TensorFlow keeps some of them all the same, so that
its second figure is too low; the ratio is that of the first.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

WARM_UP = 3
STEPS_OF_A_TURN = 3


def main() -> None:
    """Runs all of them and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("codes", 1024), ("features", 128), ("vectors", 16384), ("threads", 2), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--backends", default="tensorflow,torch,jax")
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return
    names = ["package", *(f"{backend}{variant}" for backend in options.backends.split(",") for variant in ("", " revival"))]
    seconds = take_turns(names, options)
    megabytes = {name: peak_megabytes(name, options) for name in names}  # of the first steps, and of a later one
    print(f"{options.codes} codes of {options.features}, {options.vectors} vectors, {options.threads} threads, median of {options.rounds} turns of {STEPS_OF_A_TURN} steps")
    for name in names:
        median, spread = statistics.median(seconds[name]), f"{1000 * min(seconds[name]):.0f}-{1000 * max(seconds[name]):.0f}"
        ratios = f"{median / statistics.median(seconds['package']):.2f} times its seconds, {megabytes[name][0] / megabytes['package'][0]:.2f} times its memory"
        print(f"{name:20s} {1000 * median:6.0f} ms a step ({spread})  {megabytes[name][0]:5.0f} MB, later {megabytes[name][1]:4.0f} MB   {ratios}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"arguments": vars(options), "seconds": seconds, "megabytes": megabytes}, file, indent=2)


def take_turns(names: list[str], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a step in each turn, by name."""
    workers = {name: start_worker(name, options, {}) for name in names}
    for worker in workers.values():
        ask(worker, WARM_UP)
    seconds = {name: [] for name in names}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            seconds[name].append(ask(worker, STEPS_OF_A_TURN) / STEPS_OF_A_TURN)
    for worker in workers.values():
        worker.communicate()
    return seconds


def peak_megabytes(name: str, options: argparse.Namespace) -> list[float]:
    """How far memory rises above what stood before: in the first steps, and in a later one."""
    worker = start_worker(name, options, {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"})
    megabytes = [ask(worker, f"memory {WARM_UP}"), ask(worker, "memory 1")]
    worker.communicate()
    return megabytes


def start_worker(name: str, options: argparse.Namespace, environment: dict) -> subprocess.Popen:
    """Starts the process of one implementation."""
    threads = str(options.threads)
    environment = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, TF_NUM_INTRAOP_THREADS=threads, TF_CPP_MIN_LOG_LEVEL="3", **environment)
    environment["KERAS_BACKEND"] = "torch" if name == "package" else name.split()[0]
    sizes = [f"--{size}={getattr(options, size)}" for size in ("codes", "features", "vectors", "threads")]
    return subprocess.Popen([sys.executable, __file__, f"--worker={name}", *sizes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(worker: subprocess.Popen, task) -> float:
    """Lets a worker make so many steps, or measure their memory; returns its number."""
    worker.stdin.write(f"{task}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        sys.exit("A process has died; what it said stands above.")
    return float(answer)


def serve(options: argparse.Namespace) -> None:
    """Answers tasks on standard input with numbers on standard output."""
    answers, sys.stdout = sys.stdout, sys.stderr
    if hasattr(os, "sched_setaffinity"):  # JAX takes as many threads as there are processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    step = package_step(options) if options.worker == "package" else own_step(options)
    for line in sys.stdin:
        task, _, times = line.strip().rpartition(" ")
        if task == "memory":
            before = memory_megabytes("VmRSS")
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # the high-water mark starts anew
            for _ in range(int(times)):
                step()
            number = memory_megabytes("VmHWM") - before
        else:
            start = time.perf_counter()
            for _ in range(int(times)):
                step()
            number = time.perf_counter() - start
        print(number, file=answers, flush=True)


def memory_megabytes(field: str) -> float:
    """A line of the memory of this process, Linux only."""
    with open("/proc/self/status", encoding="ascii") as file:
        return int(re.search(rf"{field}:\s+(\d+) kB", file.read()).group(1)) / 1024


def example(options: argparse.Namespace):
    """Vectors and a codebook, noise."""
    import numpy as np

    generator = np.random.default_rng(0)
    return (generator.standard_normal((number, options.features)).astype("float32") for number in (options.vectors, options.codes))


def package_step(options: argparse.Namespace):
    """A step of the public package, as it comes but for the rotation trick, which is another gradient."""
    import torch
    from vector_quantize_pytorch import VectorQuantize

    torch.set_num_threads(options.threads)
    vectors, codebook = map(torch.from_numpy, example(options))
    layer = VectorQuantize(options.features, options.codes, decay=0.99, rotation_trick=False, threshold_ema_dead_code=0).train()
    layer._codebook.embed.data.copy_(codebook[None])
    layer._codebook.embed_avg.data.copy_(codebook[None])

    def step():
        with torch.no_grad():
            layer(vectors[None])

    return step


def own_step(options: argparse.Namespace):
    """A step of ours on the backend of the process, compiled as `fit` does."""
    import keras
    from keras import ops

    from kseparation.layers import VectorQuantizer

    arrays, codebook = example(options)
    layer = VectorQuantizer(options.codes, vectors_per_step=options.codes, seed=1, revival=None if options.worker.endswith("revival") else {"rule": "off"})
    layer.build(arrays.shape)
    layer.set_codebook(codebook)
    vectors, backend = ops.convert_to_tensor(arrays), keras.backend.backend()
    if backend == "torch":
        import torch  # the number of threads is set nowhere else

        torch.set_num_threads(options.threads)

        def step():
            with torch.no_grad():
                layer(vectors, training=True)
            return layer.losses

        return step
    if backend == "tensorflow":
        import tensorflow as tf  # what `fit` compiles with

        compiled = tf.function(lambda v: (layer(v, training=True), layer.losses[0]))
        return lambda: compiled(vectors)[1].numpy()
    import jax  # what `fit` compiles with

    def whole(state, v):
        output, state, losses = layer.stateless_call([], state, v, training=True, return_losses=True)
        return output, state, losses

    compiled, state = jax.jit(whole, donate_argnums=0), [weight.value + 0 for weight in layer.non_trainable_variables]

    def step():
        nonlocal state
        output, state, _ = compiled(state, vectors)
        jax.block_until_ready((output, state))

    return step


if __name__ == "__main__":
    main()

"""What is left of a training that is killed again and again: that of this package, beside Keras' own ways of going on.

    python benchmarks/resume.py [--part=store|kills|keras] [--points=200] [--kills=44] [--backends=tensorflow,torch,jax] [--seed=0] [--json=FILE]

`store` (seconds, without Keras): a process is killed before, after and within the calls of the file system with which it saves checkpoints one after another; what is found afterwards must be
the old state or the new one, bit for bit. `kills` (up to half an hour a backend): a small Moises-Light with dropout, accumulation and averaging is trained once in peace and once under `kill -9`, a fifth
of the kills aimed at the inside of a save; in both a loss leaps, from which the training returns, and a batch has infinite gain; logs and weights must be equal, byte for byte. `keras`: plain
`model.fit` of the same model under the same kills, without the faults, with `BackupAndRestore` and with `ModelCheckpoint`, counted the same way; `--kills=12` is what is usual there.
What a power cut leaves is not tested: a killed process has given its writes to the system.
"""

import argparse
import json
import logging
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from kseparation.storage.atomic import read_json  # noqa: E402
from kseparation.storage.checkpoints import CheckpointStore  # noqa: E402
from kseparation.storage.json_lines import read_json_lines  # noqa: E402
from tests.fault_points import FaultPoints, in_a_child  # noqa: E402
from tests.killed_store import calls_of_all_saves, choose_points, faults_after_a_kill, kept_after  # noqa: E402
from tests.plain_keras import ACCUMULATE, BATCH, METHODS, MODEL, SEGMENT, STEPS  # noqa: E402
from tests.songs import SAMPLE_RATE, STEMS, write_songs  # noqa: E402

KILLED = -9
AIMED_SHARE = 10 / 44
WORKERS = (0, 1, 4)
# So that the second fault comes after the examples that a return from the first one has drawn anew, 50 steps on both sides.
LEAST_EPOCHS = 12
# Trains as the command does; KILL_IN_SAVE names a save of this process, a call of the file system in it, and the moment.
TRAIN = """
import os, sys
from kseparation.cli.main import main
if "KILL_IN_SAVE" in os.environ:
    from kseparation.storage.checkpoints import CheckpointStore
    from tests.fault_points import die_inside
    which, point, moment = os.environ["KILL_IN_SAVE"].split(":")
    die_inside(CheckpointStore, "save", int(which), int(point), moment)
sys.exit(main())
"""


def main() -> None:
    """Runs one part and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", default="store", choices=("store", "kills", "keras"))
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--kills", type=int, default=44)
    parser.add_argument("--backends", "--backend", default="tensorflow,torch,jax")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default=None, help="also write the figures to this file")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="kseparation-resume-") as folder:
        for name in ["store"] if options.part == "store" else options.backends.split(","):
            part = {"store": store_part, "kills": kills_part, "keras": keras_part}[options.part]
            start = time.monotonic()
            results[name] = part(Path(folder) / name, name, options)
            print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
            if options.json:
                text = json.dumps({"part": options.part, "points": options.points, "kills": options.kills, "seed": options.seed, "results": results}, indent=2)
                Path(options.json).write_text(text + "\n", encoding="utf-8")


def store_part(folder: Path, name: str, options: argparse.Namespace) -> dict:
    """Kills a process in its saves, at many points one by one."""
    os.fsync = lambda descriptor: None  # takes nine tenths of the time, and decides nothing where only the process dies
    calls, kept = calls_of_all_saves(folder / "count"), kept_after(folder / "kept")
    points = choose_points(calls, options.points)
    faults = [faults_after_a_kill(folder / "store", point, moment, kept) for point, moment in points]
    for fault in sum(faults, []):
        print(fault)
    counts = {moment: sum(each == moment for _, each in points) for moment in ("before", "half", "after")}
    failed = sum(map(bool, faults))
    print(f"store: {len(calls)} calls in {len(kept) - 1} saves; killed at {len(points)} points ({', '.join(f'{count} {moment}' for moment, count in counts.items())}); {failed} failed")
    return {"calls": len(calls), "points": len(points), **counts, "failed": failed, "faults": sum(faults, [])}


def kills_part(folder: Path, backend: str, options: argparse.Namespace) -> dict:
    """Trains once in peace and once under kills, and compares."""
    logging.getLogger("kseparation").addHandler(damaged := _Remembered())
    epochs = max(LEAST_EPOCHS, math.ceil(1.4 * options.kills) + 4)
    peace = Trained(folder, backend, "peace", epochs)
    peace.start(0)
    peace.must_end(peace.process.wait())
    summary = read_json(peace.run / "summary.json")
    if (summary["returns"], summary["skipped_steps"]) != (1, 1):
        sys.exit(f"Of the faults one must lead to a return and one to a step that is left out. Received: {summary['returns']} returns, {summary['skipped_steps']} steps left out.")
    seconds = epoch_seconds(peace.run)
    draw, aimed = random.Random(options.seed), round(options.kills * AIMED_SHARE)
    calls = calls_of_one_save(peace.run / "checkpoints", folder / "count")
    aims = [(point, moment, draw.randrange(2)) for point, moment in choose_points(calls, aimed)]
    plan = [None] * (options.kills - aimed) + aims
    draw.shuffle(plan)
    print(f"{backend}: {epochs} epochs of {STEPS} steps, {seconds:.2f} s each; {len(calls)} calls in a save\nkill  run  workers  at                               step  goes on at  again")
    rows, victims, failures = [], [Trained(folder, backend, "victim-1", epochs)], []
    while len(rows) < len(plan) and not failures:
        victim, aim, workers = victims[-1], plan[len(rows)], WORKERS[len(rows) % len(WORKERS)]
        delay = draw.uniform(0, 2.5 * seconds) if aim is None else None
        victim.start(workers, aim)
        if aim is None and victim.wait_for_a_step():
            time.sleep(delay)
            victim.process.kill()
        code = victim.process.wait()
        if code == 0:  # it came to its end before
            victims.append(Trained(folder, backend, f"victim-{len(victims) + 1}", epochs))
            if len(victims) > 4 + len(plan):
                failures.append("most of its kills never came about")
        elif code != KILLED:
            failures.append(f"{victim.name}: exit code {code}: {victim.last_words()}")
        else:
            checkpoint = victim.newest()
            what = f"{delay:.2f} s after its first step" if aim is None else f"{aim[1]} call {aim[0]} ({calls[aim[0]]}) of a save"
            rows.append({"run": victim.name, "workers": workers, "aimed": aim is not None, "at": what, "step": victim.step(), "goes_on_at": checkpoint, "again": max(0, victim.step() - checkpoint)})
            print(f"{len(rows):4d}  {victim.name[7:]:>3s}  {workers:7d}  {what:31s}  {rows[-1]['step']:4d}  {checkpoint:10d}  {rows[-1]['again']:5d}", flush=True)
    if not failures:
        victims[-1].start(0)
        victims[-1].must_end(victims[-1].process.wait())
    compared = {victim.name: differences(peace.run, victim.run) for victim in victims if (victim.run / "summary.json").exists()}
    faults = failures + [f"{name}: {difference}" for name, found in compared.items() for difference in found]
    again = max((row["again"] for row in rows), default=0)
    print(f"{backend}: {len(rows)} kills, {sum(row['aimed'] for row in rows)} inside a save; {len(compared)} runs ended; at most {again} of {STEPS} steps again; {len(damaged.words)} damaged checkpoints")
    print(f"{backend}: " + ("losses.log byte for byte and all numbers bit for bit as in peace" if not faults else "NOT as in peace: " + "; ".join(faults)), flush=True)
    return {"epochs": epochs, "steps_per_epoch": STEPS, "kills": rows, "runs": len(compared), "faults": faults, "damaged": damaged.words, "most_steps_again": again}


class _Remembered(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.words = []

    def emit(self, record):
        self.words.append(record.getMessage())


class Trained:
    """A run of the command `train` in processes of its own."""

    def __init__(self, folder: Path, backend: str, name: str, epochs: int):
        self.name, self.backend, self.run, self.words = name, backend, folder / name, folder / f"{name}.err"
        self.config = folder / "config.yaml"
        if not self.config.exists():
            write_songs(folder / "songs", {"train": {"a": 9000, "b": 7000}, "validation": {"v": 4000}})
            self.config.write_text(yaml.safe_dump(self._config(folder / "songs", epochs)), encoding="utf-8")

    def _config(self, songs, epochs):
        training = {"epochs": epochs, "steps_per_epoch": STEPS, "batch_size": BATCH, "accumulate_steps": ACCUMULATE, "warmup_steps": 20, "ema": 0.95}
        return {
            "data": {"name": "track_folder", "root": str(songs), "stems": [*STEMS], "sample_rate": SAMPLE_RATE, "segment_seconds": SEGMENT / SAMPLE_RATE, "workers": 0},
            "model": {"name": "moises_light", **MODEL},
            "loss": [{"name": "waveform_l1", "weight": 10.0}, {"name": "multi_resolution_complex_stft", "windows": [256, 128], "hop_samples": 64, "minimum_fft_size": 1}],
            "training": {**training, "jit_compile": self.backend == "jax", "early_stopping_patience": None, "keep_every_epochs": 10},
            "logging": {"every_n_steps": 1, "tensorboard": True},
            "safety": {"snapshot_every_steps": 30},
            "reproduce_failure": True,
            "inject": [{"name": "loss_spike", "step": epochs * STEPS // 3}, {"name": "gain_infinite", "step": 3 * epochs * STEPS // 4}],
        }

    def start(self, workers: int, aim: tuple | None = None) -> None:
        """Gives the command, which begins the run or goes on with it."""
        log = self.run / "losses.log"
        self.before = (os.stat(log).st_ino, os.stat(log).st_mtime_ns) if log.exists() else None
        self.first = self.newest()
        command = [sys.executable, "-c", TRAIN, "train", f"--config={self.config}", f"--run_dir={self.run}", f"--set=data.workers={workers}", "--allow=data.workers"]
        aimed = {} if aim is None else {"KILL_IN_SAVE": f"{aim[2]}:{aim[0]}:{aim[1]}"}
        with open(self.words, "ab") as words:
            self.process = subprocess.Popen(command, env=environment(self.backend, self.run.parent) | aimed, stdout=words, stderr=words)

    def wait_for_a_step(self) -> bool:
        """Waits until this process has made a step; returns whether it still runs then."""
        while self.process.poll() is None:
            log = self.run / "losses.log"
            if log.exists() and (os.stat(log).st_ino, os.stat(log).st_mtime_ns) != self.before and self.step() > self.first:
                return True
            time.sleep(0.005)
        return False

    def newest(self) -> int:
        """Step of the newest sound checkpoint, 0 without one."""
        checkpoint = CheckpointStore(self.run / "checkpoints").load_latest()
        return checkpoint.step if checkpoint else 0

    def step(self) -> int:
        """Step of the last whole line of its log."""
        log = self.run / "losses.log"
        lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
        return int(lines[-1].split()[0]) if lines else 0

    def last_words(self) -> str:
        """The last line that it said."""
        return self.words.read_text(errors="replace").strip().rpartition("\n")[2]

    def must_end(self, code: int) -> None:
        """Ends this program where the training did not come to its end."""
        if code != 0:
            sys.exit(f"{self.name} ended with {code}: {self.last_words()}")


def environment(backend: str, folder: Path) -> dict[str, str]:
    """Of a child: this tree, one thread, and what JAX has compiled kept, for each process begins anew."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}
    return {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **compiled, **dict.fromkeys(threads, "1")}


def epoch_seconds(run: Path) -> float:
    """Mean of the seconds between the validations of a run."""
    times = [row["seconds"] for row in read_json_lines(run / "metrics.jsonl") if row["kind"] == "validation"]
    return (times[-1] - times[0]) / (len(times) - 1)


def calls_of_one_save(checkpoints: Path, scratch: Path) -> list[str]:
    """Names of the calls with which one more checkpoint of a run is saved and the oldest deleted."""
    newest, store, points = CheckpointStore(checkpoints).load_latest(), CheckpointStore(scratch), FaultPoints()
    for step in range(3):
        store.save(step, newest.arrays, newest.progress)

    def work(report):
        store.save(3, newest.arrays, newest.progress)
        points.armed = False
        report(" ".join(points.calls))

    return in_a_child(work, points)[0][0].split()


def differences(peace: Path, victim: Path) -> list[str]:
    """In what a run differs from another one of the same config: losses, the whole state at the end, both models, validations."""
    found, lines = [], [(run / "losses.log").read_bytes().splitlines() for run in (peace, victim)]
    if lines[0] != lines[1]:
        found.append(f"{len(set(lines[0]) ^ set(lines[1]))} lines of losses.log")
    states = [CheckpointStore(run / "checkpoints").load_latest() for run in (peace, victim)]
    if states[0].progress != states[1].progress or states[0].arrays.keys() != states[1].arrays.keys():
        found.append("the progress of the last checkpoint")
    elif unlike := [name for name in states[0].arrays if states[0].arrays[name].tobytes() != states[1].arrays[name].tobytes()]:
        found.append(f"{len(unlike)} of {len(states[0].arrays)} arrays of the last checkpoint")
    incidents = [sorted(path.name for path in (run / "incidents").iterdir()) for run in (peace, victim)]
    if incidents[0] != incidents[1]:
        found.append(f"the incidents ({', '.join(incidents[1])} instead of {', '.join(incidents[0])})")
    found += [name for name in ("model.keras", "last.keras") if weights_of(peace / name) != weights_of(victim / name)]
    told = [[{**row, "seconds": 0} for row in read_json_lines(run / "metrics.jsonl") if row["kind"] == "validation"] for run in (peace, victim)]
    return found + (["the validations"] if told[0] != told[1] else [])


def weights_of(file: Path) -> dict[str, bytes]:
    """The arrays of a `.keras` file as bytes."""
    import io
    import zipfile

    import h5py

    arrays = {}
    with zipfile.ZipFile(file) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        weights.visititems(lambda name, item: arrays.update({name: np.asarray(item).tobytes()}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def keras_part(folder: Path, backend: str, options: argparse.Namespace) -> dict:
    """The same model in plain `model.fit`, with each of Keras' ways of going on."""
    results, epochs = {}, math.ceil(1.6 * options.kills) + 4
    print(f"{backend}: {epochs} epochs of {STEPS * ACCUMULATE} micro-batches\nmethod                  kills  in a save  could not go on  micro-batches that differ  final loss  weights")
    for method in METHODS:
        peace = Plain(folder / f"{method}-peace", backend, method, epochs)
        peace.start()
        if peace.process.wait() != 0:
            sys.exit(f"plain Keras ended: {peace.last_words()}")
        ends, losses = peace.ends(), peace.losses()
        victim, draw = Plain(folder / method, backend, method, epochs), random.Random(options.seed)
        kills, aimed, refused, words = 0, 0, 0, []
        plan = [number < round(options.kills * AIMED_SHARE) for number in range(options.kills)]
        draw.shuffle(plan)
        while kills < options.kills or not victim.ends():
            aim = kills < options.kills and plan[kills]
            victim.start(f"{draw.randrange(2)}:{draw.uniform(0, 1.2 * ends['save_seconds']):.4f}" if aim else None)
            delay = draw.uniform(0, 1.5 * ends["epoch_seconds"])
            if not aim and victim.wait_for_a_batch() and kills < options.kills:
                time.sleep(delay)
                victim.process.kill()
            code = victim.process.wait()
            if code == KILLED:
                kills, aimed = kills + 1, aimed + aim
            elif code != 0:
                refused, words = refused + 1, [*words, victim.last_words()]
                victim.forget_the_newest()
                if refused > 2 * options.kills:
                    sys.exit(f"plain Keras never goes on: {words[-1]}")
            elif kills < options.kills:
                break  # it came to its end before all kills
        now, last = victim.losses(), victim.ends()
        differ = sum(now.get(place) != value for place, value in losses.items())
        same = {key: last.get(key) == ends[key] for key in ("loss", "weights")}
        results[method] = {"kills": kills, "in_a_save": aimed, "could_not_go_on": refused, "words": words, "micro_batches": len(losses), "differ": differ}
        results[method] |= {"final_loss": last.get("loss"), "final_loss_in_peace": ends["loss"], "same_final_loss": same["loss"], "same_weights": same["weights"]}
        print(f"{method:22s}  {kills:5d}  {aimed:9d}  {refused:15d}  {differ:14d} of {len(losses):4d}     {'same' if same['loss'] else 'differs':10s}  {'same' if same['weights'] else 'differ'}", flush=True)
        for each in sorted(set(words)):
            print(f"    could not go on, {words.count(each)} times, and began again: {each[:200]}", flush=True)
    return results


class Plain:
    """A plain Keras training in processes of its own; in its log the last line of a micro-batch counts."""

    def __init__(self, folder: Path, backend: str, method: str, epochs: int):
        self.folder, self.backend, self.method, self.epochs = folder, backend, method, epochs
        folder.mkdir(parents=True)
        self.log, self.words = folder / "losses.log", folder / "err"

    def start(self, aim: str | None = None) -> None:
        """Begins or goes on; `aim` is a save of this process and the seconds after its begin at which to die."""
        self.size = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", "tests.plain_keras", self.method, str(self.folder), str(self.epochs)]
        with open(self.words, "ab") as words:
            self.process = subprocess.Popen(command, env=environment(self.backend, self.folder.parent) | ({"KILL_IN_SAVE": aim} if aim else {}), stdout=words, stderr=words)

    def wait_for_a_batch(self) -> bool:
        """Waits until this process has made a micro-batch; returns whether it still runs then."""
        while self.process.poll() is None:
            if self.log.exists() and self.log.stat().st_size > self.size:
                return True
            time.sleep(0.005)
        return False

    def losses(self) -> dict[str, str]:
        """Loss by epoch and micro-batch."""
        return dict(line.rsplit(" ", 1) for line in self.log.read_text().splitlines() if line.count(" ") == 2)

    def ends(self) -> dict:
        """What it found at its end, nothing before that."""
        file = self.folder / "end.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def last_words(self) -> str:
        """The last line that it said."""
        return self.words.read_text(errors="replace").strip().rpartition("\n")[2]

    def forget_the_newest(self) -> None:
        """Deletes the file from which it could not go on, as a person would."""
        import shutil

        if self.method == "model_checkpoint":
            max((self.folder / "models").glob("*.keras")).unlink()
        else:
            shutil.rmtree(self.folder / "backup", ignore_errors=True)


if __name__ == "__main__":
    main()

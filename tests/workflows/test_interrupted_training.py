"""Training in processes that are killed and started again."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kseparation.storage.checkpoints import CheckpointStore
from tests.tiny_run import COMMAND, child_environment, write_config

EPOCHS, STEPS = 7, 25
# All kinds of state: statistics, seeds of dropout, averages, accumulated gradients, moments.
MODEL = {"name": "tiny_separator", "dropout": 0.3}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """Folder with the config, the songs and the finished run `undisturbed`."""
    folder = tmp_path_factory.mktemp("runs")
    write_config(folder, model=MODEL, epochs=EPOCHS, steps_per_epoch=STEPS, accumulate_steps=2)
    done = subprocess.run(command(folder, "undisturbed"), env=child_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def command(folder: Path, name: str) -> list[str]:
    return [*COMMAND, "--config", str(folder / "tiny.yaml"), "--run_dir", str(folder / name)]


def run_and_signal(folder: Path, name: str, epoch: int, share: float, number: int) -> tuple[int, str]:
    """Trains in a process that gets a signal at some moment of the epoch after `epoch`; returns its exit code and last words."""
    signalled = folder / f"signalled_after_epoch_{epoch}"
    environment = child_environment() | {"KSEPARATION_TEST_HOLD": f"{epoch}:{STEPS - 1}:{signalled}"}
    process = subprocess.Popen(command(folder, name), env=environment, stderr=subprocess.PIPE, text=True)
    words, last = [], time.monotonic()
    with process:
        for line in process.stderr:
            words.append(line)
            now = time.monotonic()
            if line.startswith(f"epoch {epoch}/"):
                time.sleep(share * min(now - last, 1.0))
                process.send_signal(number)
                signalled.touch()
                words += process.stderr.readlines()
                break
            last = now
    return process.returncode, "".join(words)


def finish(folder: Path, name: str) -> str:
    done = subprocess.run(command(folder, name), env=child_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def losses(folder: Path, name: str) -> bytes:
    return (folder / name / "losses.log").read_bytes()


def test_a_run_killed_three_times_and_stopped_twice_is_that_which_was_never_disturbed(undisturbed: Path) -> None:
    draw = random.Random(11)
    run, store = undisturbed / "disturbed", CheckpointStore(undisturbed / "disturbed" / "checkpoints")
    blows = [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
    for epoch, (number, code) in enumerate(blows, start=1):
        kept = store.load_latest()
        ended, words = run_and_signal(undisturbed, run.name, epoch, draw.random(), number)
        assert ended == code, words
        assert ("resumed at epoch" in words) == (kept is not None)
        assert not (run / "summary.json").exists()
        checkpoint = store.load_latest()
        if number == signal.SIGKILL:
            # At most the epoch that was reported while its checkpoint was being written is computed again.
            assert (checkpoint.step if checkpoint else 0) >= (epoch - 1) * STEPS
        else:
            assert "interrupted: a checkpoint is written after this step" in words
            assert epoch * STEPS <= checkpoint.step <= (epoch + 1) * STEPS
    assert "resumed at epoch" in finish(undisturbed, run.name)
    assert losses(undisturbed, run.name) == losses(undisturbed, "undisturbed")
    assert len(losses(undisturbed, run.name).splitlines()) == EPOCHS * STEPS
    summaries = [json.loads((undisturbed / name / "summary.json").read_text()) for name in (run.name, "undisturbed")]
    assert summaries[0] | {"run": ""} == summaries[1] | {"run": ""}

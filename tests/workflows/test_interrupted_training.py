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
    """Trains in a process that gets a signal a share of an epoch after it reported `epoch`; returns its exit code and last words."""
    process = subprocess.Popen(command(folder, name), env=child_environment(), stderr=subprocess.PIPE, text=True)
    words, last = [], time.monotonic()
    with process:
        for line in process.stderr:
            words.append(line)
            now = time.monotonic()
            if line.startswith(f"epoch {epoch}/"):
                time.sleep(share * min(now - last, 1.0))
                process.send_signal(number)
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


def test_a_run_killed_three_times_is_that_which_was_never_disturbed(undisturbed: Path) -> None:
    draw = random.Random(11)
    for epoch in (1, 3, 5):
        code, words = run_and_signal(undisturbed, "killed", epoch, draw.random(), signal.SIGKILL)
        assert code == -signal.SIGKILL, words
        assert not (undisturbed / "killed" / "summary.json").exists()
        checkpoint = CheckpointStore(undisturbed / "killed" / "checkpoints").load_latest()
        # At most the epoch that was reported while its checkpoint was being written is computed again.
        assert (checkpoint.step if checkpoint else 0) >= (epoch - 1) * STEPS
    assert "resumed at epoch" in finish(undisturbed, "killed")
    assert losses(undisturbed, "killed") == losses(undisturbed, "undisturbed")
    assert len(losses(undisturbed, "killed").splitlines()) == EPOCHS * STEPS


def test_an_interrupted_run_goes_on_inside_the_epoch(undisturbed: Path) -> None:
    for number, epoch, code in ((signal.SIGINT, 2, 130), (signal.SIGTERM, 4, 143)):
        ended, words = run_and_signal(undisturbed, "interrupted", epoch, 0.4, number)
        assert ended == code, words
        assert "interrupted: a checkpoint is written after this step" in words
        checkpoint = CheckpointStore(undisturbed / "interrupted" / "checkpoints").load_latest()
        assert epoch * STEPS <= checkpoint.step <= (epoch + 1) * STEPS
    finish(undisturbed, "interrupted")
    assert losses(undisturbed, "interrupted") == losses(undisturbed, "undisturbed")
    summaries = [json.loads((undisturbed / name / "summary.json").read_text()) for name in ("interrupted", "undisturbed")]
    assert summaries[0] | {"run": ""} == summaries[1] | {"run": ""}

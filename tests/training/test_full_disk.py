"""A training's files on a disk that is full, simulated and real."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.errors import MachineError, UserError
from kseparation.storage.atomic import write_text_atomic
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.training import GuardedOptimizer, full_disk
from kseparation.training.full_disk import SurviveFullDisk
from kseparation.training.run_callbacks import save_model
from kseparation.training.run_log import RunLog
from tests.small_disk import DISKS, REFUSALS, SmallDisk, refuse
from tests.tiny_separator import tiny_separator

AGAIN = "at the end of the next epoch"
LIMITED = """
import resource, runpy, sys
import numpy as np
from kseparation.storage.checkpoints import CheckpointStore
patience, store = runpy.run_path(sys.argv[2])["SurviveFullDisk"]("later"), CheckpointStore(sys.argv[1])  # its package would import Keras
for step, room in ((1, resource.RLIM_INFINITY), (2, 3000), (3, 10000), (4, resource.RLIM_INFINITY)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    with patience.attempt(f"the checkpoint of step {step}"):
        store.save(step, {"kernel": np.full(5000, step, "float32")}, {})
    print(step, patience.failed, store.load_latest().step, store.load_latest().arrays["kernel"][-1])
"""


@pytest.fixture
def patience() -> SurviveFullDisk:
    return SurviveFullDisk(AGAIN)


def save(store: CheckpointStore, step: int) -> None:
    store.save(step, {"kernel": np.full(9000, step, "float32")}, {"step": step})


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("number", REFUSALS)
def test_a_checkpoint_that_the_disk_refuses_is_told_and_counted(tmp_path: Path, monkeypatch, capsys, patience, call: str, number: int) -> None:
    store = CheckpointStore(tmp_path)
    save(store, 300)
    with monkeypatch.context() as patch:
        refuse(patch, call, number)
        for failed, step in enumerate((400, 500), start=1):
            with patience.attempt(f"the checkpoint of step {step}"):
                save(store, step)
            assert patience.failed == failed
            assert capsys.readouterr().err == f"the checkpoint of step {step} could not be written: {os.strerror(number)}; the training goes on, and tries again {AGAIN}\n"
    assert os.listdir(tmp_path) == ["300"]
    with pytest.raises(MachineError, match=f"The checkpoint of step 500 could not be written: {os.strerror(number)}. Free space there, and run the same command again."):
        patience.require_written()
    with patience.attempt("the checkpoint of step 600"):
        save(store, 600)
    assert capsys.readouterr().err == "the checkpoint of step 600 was written, after 2 attempts that the disk refused\n"
    assert patience.failed == 0 and store.load_latest().step == 600
    patience.require_written()


def test_a_bare_error_of_the_disk_is_one_too(patience, capsys) -> None:
    with patience.attempt("the report"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "the report could not be written: No space left on device;" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        OSError(errno.EMFILE, "Too many open files"),
        MachineError("in use by another process"),
        UserError("wrong"),
        ValueError("wrong"),
        KeyboardInterrupt(),
    ],
)
def test_anything_else_passes(patience, capsys, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, patience.attempt("the checkpoint"):
        raise error
    assert caught.value is error
    assert patience.failed == 0 and capsys.readouterr().err == ""


def test_a_wrong_place_and_too_many_open_files_pass(tmp_path: Path, monkeypatch, patience) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), patience.attempt("the report"):
        write_text_atomic(tmp_path / "file" / "report.html", "")
    refuse(monkeypatch, "fsync", errno.EMFILE)
    with pytest.raises(MachineError, match="Too many open files"), patience.attempt("the report"):
        write_text_atomic(tmp_path / "report.html", "")


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path), full_disk.__file__], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1 0 1 1.0", "2 1 1 1.0", "3 2 1 1.0", "4 0 4 4.0"], done.stderr
    assert done.stderr.count("could not be written: File too large; the training goes on, and tries again later") == 2
    assert sorted(os.listdir(tmp_path)) == ["1", "4"]


@pytest.mark.parametrize("disk_kind", DISKS)
def test_a_full_disk_costs_nothing_but_what_it_refused(tmp_path: Path, capsys, patience, disk_kind: type[SmallDisk]) -> None:
    """Checkpoints, a model file and the log, on a disk that is full for a while."""
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1)))
    with disk_kind(tmp_path / "disk", 512) as disk, RunLog(disk.path) as log:
        store = CheckpointStore(disk.path / "checkpoints")
        attempts = {"the model": lambda step: save_model(model, disk.path / "model.keras"), "the checkpoint": lambda step: save(store, step)}
        for step, room in ((1, None), (2, 0), (3, 4096), (4, 20000), (5, None)):
            if room is not None:
                disk.fill(leaving=room)
            log.step(step, {"total": float(step)})
            for what, write in attempts.items():
                with patience.attempt(what):
                    write(step)
            log.flush()
            assert sorted(path.name for path in disk.path.rglob(".*")) == []
            assert store.load_latest().arrays["kernel"][0] == (5 if step == 5 else 1)
            assert (disk.path / "model.keras").stat().st_size > 0
            disk.empty()
        assert patience.failed == 0
        assert len((disk.path / "losses.log").read_text().splitlines()) == 5
    assert capsys.readouterr().err.count("No space left on device") >= 5

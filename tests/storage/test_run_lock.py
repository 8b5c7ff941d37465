import os
import signal
import subprocess
import sys

import pytest

from kseparation.errors import MachineError, UserError
from kseparation.storage import run_lock
from kseparation.storage.run_lock import RunLock

HOLD = """
import sys, time
from kseparation.storage.run_lock import RunLock
RunLock(sys.argv[1]).__enter__()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_live_writer_is_named_and_a_killed_one_blocks_nobody(tmp_path, holder):
    with pytest.raises(MachineError, match=rf"in use by another process. Received: pid={holder.pid}, host=\S+"):
        with RunLock(tmp_path):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / "run.lock").read_text()
    with RunLock(tmp_path):
        assert str(os.getpid()) in (tmp_path / "run.lock").read_text()


def test_released_it_can_be_taken_again(tmp_path):
    for _ in range(2):
        with RunLock(tmp_path / "run"):
            with pytest.raises(MachineError, match=f"pid={os.getpid()}"):
                RunLock(tmp_path / "run").__enter__()
    assert (tmp_path / "run" / "run.lock").read_text() == ""


def test_a_holder_that_has_not_written_its_note_yet(tmp_path):
    with RunLock(tmp_path):
        os.truncate(tmp_path / "run.lock", 0)
        with pytest.raises(MachineError, match="Received: pid unknown"):
            RunLock(tmp_path).__enter__()


def test_a_disk_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    with pytest.raises(MachineError, match="cannot be locked: No locks available. Choose a run folder on a local disk"):
        RunLock(tmp_path).__enter__()


def test_a_file_as_run_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        RunLock(tmp_path / "file").__enter__()

"""What all tests of workflows share."""

import signal
from collections.abc import Iterator

import pytest

from kseparation.training.run_log import RunLog
from kseparation.workflows import train as workflow


@pytest.fixture(autouse=True)
def no_report_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing its figures takes ten times as long as a training of a few steps. `test_the_files_of_a_run` looks at a real one."""
    monkeypatch.setattr(workflow, "write_report", lambda path, data: None)


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch, ctrl_c_is_heard: None) -> set[int]:
    """Steps after which SIGINT comes, once each; a test adds them."""
    write, pending = RunLog.step, set()

    def step(self, step, parts):
        write(self, step, parts)
        if step in pending:
            pending.remove(step)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunLog, "step", step)
    return pending

"""What all tests of workflows share."""

import pytest

from kseparation.workflows import train as workflow


@pytest.fixture(autouse=True)
def no_report_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing its figures takes ten times as long as a training of a few steps. `test_the_files_of_a_run` looks at a real one."""
    monkeypatch.setattr(workflow, "write_report", lambda path, data: None)

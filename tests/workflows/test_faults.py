"""The table of faults, on the smallest model: what the training notices and does about each, and what `replay` finds. The long form is `benchmarks/faults.py`."""

from pathlib import Path

import keras
import pytest

from kseparation.models import MODELS
from kseparation.training.faults import EXPECTED, FAULTS
from kseparation.training.verdicts import ACTIONS, EVENTS, VERDICTS
from tests.faulty_run import all_weights_finite, run_with, wrong_cells
from tests.tiny_separator import TinySeparator

HERE = [name for name in FAULTS if keras.backend.backend() in EXPECTED[name].backends]


@pytest.fixture(autouse=True)
def tiny_separator_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_separator", TinySeparator)


def test_the_table_has_every_fault_and_uses_its_words() -> None:
    assert set(FAULTS) == {name for name, expected in EXPECTED.items() if expected.backends}
    assert len(EXPECTED) == 19
    for expected in EXPECTED.values():
        assert set(expected.event) <= set(EVENTS) and set(expected.action) <= set(ACTIONS) and (expected.verdict is None or expected.verdict in VERDICTS)
        assert len(expected.backends) == 3 or expected.why_not


@pytest.mark.parametrize("name", HERE)
def test_a_fault_is_met_as_the_table_says(name: str, tmp_path: Path) -> None:
    found = run_with(name, tmp_path)
    assert wrong_cells(name, found, "tiny_separator/dense") == []
    assert all_weights_finite(found.run)
    assert (found.stopped is not None) == (found.action == "stop")
    if found.stopped:
        assert "kseparation replay --incident=" in found.stopped
    if EXPECTED[name].event != ("none",):
        report = (found.incident / "REPORT.md").read_text(encoding="utf-8")
        assert "## The cause" in report and f"**{EXPECTED[name].verdict}**" in report and "Not looked for yet" not in report

"""The table of faults, on the smallest model: what the training notices and does about each, and what `replay` finds. The long form is `benchmarks/faults.py`."""

from pathlib import Path

import keras
import pytest

from kseparation.errors import UserError
from kseparation.models import MODELS
from kseparation.training.faults import EXPECTED, FAULTS
from kseparation.training.verdicts import ACTIONS, EVENTS, VERDICTS
from kseparation.workflows.train import train
from tests.faulty_run import all_weights_finite, run_with, wrong_cells
from tests.tiny_run import tiny_config
from tests.tiny_separator import TinySeparator

pytestmark = pytest.mark.filterwarnings("ignore:.*is known to break a training.*:UserWarning")
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


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ("{name: gain_infinite, step: 1000}", "lies after the end of the training"),
        ("{name: accumulation_nan, step: 1}", "must be below `training.accumulate_steps`, 1"),
        ("{name: validation_nan, batch: 99}", "must be below the number of batches of the validation"),
        ("{name: validation_nan, batch: -1}", "`batch` must not be negative"),
        ("{name: loss_spike, step: 1}, {name: layer_infinite, step: 2}", "Received: loss_spike, layer_infinite"),
    ],
)
def test_a_fault_that_would_never_come_is_refused(tmp_path: Path, faults: str, words: str) -> None:
    config = tiny_config(tmp_path, ["reproduce_failure=true", f"inject=[{faults}]"], model={"name": "tiny_separator"})
    with pytest.raises(UserError, match=words):
        train(config, run_dir=tmp_path / "run")


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of the backend that compiles nothing")
def test_a_fault_of_compiled_steps_is_refused_where_nothing_is_compiled(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, ["reproduce_failure=true", "inject=[{name: compiled_nan, step: 2}]"], model={"name": "tiny_separator"})
    with pytest.raises(UserError, match="a step that is not compiled cannot have it"):
        train(config, run_dir=tmp_path / "run")

"""The table of faults, on the smallest model: what the training notices and does about each, and what `replay` finds. The long form is `benchmarks/faults.py`."""

from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.models import MODELS
from kseparation.training import GuardedOptimizer, WarmupSchedule
from kseparation.training.faults import EXPECTED, FAULTS
from kseparation.training.recoverable_rate import RecoverableRate
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


def test_an_infinite_stem_is_named_with_its_file_and_its_example(tmp_path: Path) -> None:
    found = run_with("gain_infinite", tmp_path)
    report = (found.incident / "REPORT.md").read_text(encoding="utf-8")
    assert "of the stems of micro-batch 0 are not finite, in vocals of example 0; the first is" in report.split("## The cause")[1]
    assert "vocals from sample" in report and "vocals.wav" in report and "## What to do" in report and "## If it goes on" not in report


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


def test_a_fault_of_compiled_steps_is_refused_where_nothing_is_compiled(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, ["reproduce_failure=true", "inject=[{name: compiled_nan, step: 2}]"], model={"name": "tiny_separator"})
    if keras.backend.backend() == "torch":
        with pytest.raises(UserError, match="a step that is not compiled cannot have it"):
            train(config, run_dir=tmp_path / "run")
    else:
        assert train(config, run_dir=tmp_path / "run").summary["skipped_steps"] == 1


def rates(steps, factor=1.0, returns=None):
    """The factor of the rate in each of these steps, with the fault `learning_rate` in steps 5 to 8; `returns` are (after step, factor that it sets)."""
    fault, rate = FAULTS["learning_rate"](step=5, steps=4), RecoverableRate(WarmupSchedule(0.1, 0, 50, "constant"))
    model = SimpleNamespace(optimizer=GuardedOptimizer(keras.optimizers.SGD(rate)))
    model.optimizer.build([keras.Variable(np.ones(2, "float32"))])
    rate.factor.assign(factor)
    found = []
    for step in steps:
        fault.before_step(model, step)
        found.append(float(rate.factor))
        if step in (returns or {}):
            rate.factor.assign(returns.pop(step))
    return found


def test_the_fault_of_the_learning_rate_takes_back_what_it_did_and_nothing_else() -> None:
    assert rates(range(3, 11)) == [1, 1, 1000, 1000, 1000, 1000, 1, 1]
    assert rates([4, 5, 5, 6, 9]) == [1, 1000, 1000, 1000, 1]  # a call of `fit` begins with step 5
    assert rates([5, 6, 7, 8, 9, 10], returns={6: 1.0}) == [1000, 1000, 1, 1, 1, 1]  # a return within it
    assert rates([5, 6, 3, 4, 5, 8, 9], returns={6: 0.5}) == [1000, 1000, 0.5, 0.5, 500, 500, 0.5]  # and to before it
    assert rates([7, 8, 9, 10], factor=500.0) == [500, 500, 0.5, 0.5]  # in another process
    assert rates([7, 8, 9, 10], factor=0.5) == [0.5] * 4  # which followed a return

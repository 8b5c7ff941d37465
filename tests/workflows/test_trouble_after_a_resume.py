"""Trainings that are killed or interrupted around trouble, and meet it as those do that nobody disturbs."""

from pathlib import Path

import pytest

from kseparation.models import MODELS
from kseparation.storage.atomic import read_json
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.workflows.train import train
from tests.faulty_run import run_with
from tests.tiny_run import poison, rows, tiny_config
from tests.tiny_separator import TinySeparator

LINEAR = {"name": "tiny_separator"}


@pytest.fixture(autouse=True)
def tiny_separator_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_separator", TinySeparator)


def test_a_kill_within_the_first_return_loses_no_state_of_the_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Before the end of an epoch nothing is on the disk: neither the state to return to nor the one before it, to which the same trouble leads next."""
    poison(monkeypatch, 45, 1, draws=(0, 1))
    sound, saved = CheckpointStore.save, []

    class Killed(Exception):
        pass

    def go(folder):
        overrides = ["training.max_skipped_in_a_row=1", "safety.snapshot_every_steps=10", "safety.keep_snapshots=5"]
        run = folder / "run"
        train(tiny_config(folder, overrides, model=LINEAR, epochs=1, steps_per_epoch=60), run_dir=run)
        return (run / "losses.log").read_bytes(), [row["to_step"] for row in rows(run, "recovery")]

    def save(self, step, *arguments, **keywords):
        saved.append((self.folder.name, step))
        if len(saved) == last:
            raise Killed
        return sound(self, step, *arguments, **keywords)

    expected = go(tmp_path / "undisturbed")
    assert expected[1] == [20, 10]
    monkeypatch.setattr(CheckpointStore, "save", save)
    for last in (3, 4):
        saved.clear()
        with pytest.raises(Killed):
            go(tmp_path / f"killed{last}")
        assert go(tmp_path / f"killed{last}") == expected
        assert saved[:last] == [("snapshots", 0), ("snapshots", 10), ("checkpoints", 20), ("snapshots", 20)][:last]
    assert "is left out" not in caplog.text


def test_bad_losses_in_a_row_are_counted_across_a_resume_in_mixed_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt_after: set[int]) -> None:
    """While the loss scale is above 1 the optimizer does not count them."""
    poison(monkeypatch, 30, 6, draws=(0,))
    def go(name):
        overrides = ["training.dtype_policy=mixed_float16", "training.max_skipped_in_a_row=4", "safety.snapshot_every_steps=10"]
        train(tiny_config(tmp_path, overrides, model=LINEAR, epochs=1, steps_per_epoch=50), run_dir=tmp_path / name)
        return [(row["kind"], row["step"]) for row in rows(tmp_path / name, "fault", "recovery")]

    expected = go("undisturbed")
    assert expected == [("fault", 31), ("fault", 32), ("fault", 33), ("fault", 34), ("recovery", 34)]
    for name in ("run", "older"):
        interrupt_after.add(32)
        with pytest.raises(KeyboardInterrupt):
            go(name)
    assert go("run") == expected
    assert (tmp_path / "run" / "losses.log").read_bytes() == (tmp_path / "undisturbed" / "losses.log").read_bytes()
    assert sorted(path.name for path in (tmp_path / "run" / "incidents").iterdir()) == ["31", "34"]
    assert "; 4 in a row" in read_json(tmp_path / "run" / "incidents" / "34" / "incident.json")["reason"]
    # A checkpoint of before this was kept counts from itself.
    store = CheckpointStore(tmp_path / "older" / "checkpoints")
    newest = store.load_latest()
    recovery = {key: value for key, value in newest.progress["recovery"].items() if key != "rejected_before"}
    store.save(newest.step, newest.arrays, {key: value for key, value in newest.progress.items() if key != "bad_losses"} | {"recovery": recovery})
    assert go("older")[-1] == ("recovery", 36)


def test_interruptions_push_out_no_state_that_a_return_leads_to(tmp_path: Path, interrupt_after: set[int]) -> None:
    def go(name):
        overrides = ["inject=[{name: loss_spike, step: 66}]", "safety.keep_snapshots=2"]
        run = run_with("loss_spike", tmp_path / name, overrides, epochs=4, replayed=False).run
        return (run / "losses.log").read_bytes(), [(row["step"], row["to_step"]) for row in rows(run, "recovery")]

    expected = go("undisturbed")
    assert expected[1] == [(66, 40)]  # the states in memory are of steps 50 and 60
    interrupt_after.update({45, 50})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            go("interrupted")
    assert CheckpointStore(tmp_path / "interrupted" / "run" / "checkpoints").steps() == [20, 40, 50]
    assert go("interrupted") == expected

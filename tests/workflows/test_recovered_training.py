"""Trainings that return to an older state, and what a kill, a full disk, `--strict` or a schedule makes of that."""

import json
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.data import SegmentBatches
from kseparation.errors import TrainingStopped
from kseparation.models import MODELS
from kseparation.storage import atomic
from kseparation.storage.atomic import read_json
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.training import watch_steps
from kseparation.training.run_callbacks import LogSteps
from kseparation.training.run_log import RunLog, rows_of_the_course
from kseparation.workflows import incident_record
from kseparation.workflows.train import train
from tests.faulty_run import STEP, run_with
from tests.tiny_run import poison, rows, tiny_config
from tests.tiny_separator import TinySeparator

pytestmark = pytest.mark.filterwarnings("ignore:.*is known to break a training.*:UserWarning")
LINEAR = {"name": "tiny_separator"}


@pytest.fixture(autouse=True)
def tiny_separator_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_separator", TinySeparator)


def steps_logged(run: Path) -> list[int]:
    return [int(line.split(" ")[0]) for line in (run / "losses.log").read_text().splitlines()]


def test_a_return_leaves_one_line_for_each_step_and_the_story_beside_it(tmp_path: Path) -> None:
    found = run_with("loss_spike", tmp_path, replayed=False)
    assert steps_logged(found.run) == list(range(1, 61))
    assert max(float.fromhex(line.split("total=")[1].split(" ")[0]) for line in (found.run / "losses.log").read_text().splitlines()) < 100
    fault, recovery = rows(found.run, "fault", "recovery")
    assert (fault["step"], fault["event"], fault["action"]) == (STEP, "spike", "roll_back")
    assert (recovery["step"], recovery["to_step"], recovery["rate_factor"]) == (STEP, 10, 1.0)
    trained = [(row.get("course", 0), row["step"]) for row in rows(found.run, "train")]
    assert trained == [*((0, step) for step in range(1, STEP + 1)), *((1, step) for step in range(11, 61))]
    of_the_course = rows_of_the_course([json.loads(line) for line in (found.run / "metrics.jsonl").read_text().splitlines()])
    assert [row["step"] for row in of_the_course if row["kind"] == "train"] == list(range(1, 61))
    summary = read_json(found.run / "summary.json")
    assert (summary["returns"], summary["incidents"], summary["skipped_steps"]) == (1, 1, 0)
    progress = CheckpointStore(found.run / "checkpoints").load_latest().progress
    assert progress["detours"] == [[10, STEP + 49]] and len(progress["recovery"]["returns"]) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_a_return_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The states to return to are on the disk with the checkpoint before it; the budget, the other examples and the story are in the one that follows."""
    expected = run_with("loss_spike", tmp_path / "undisturbed", replayed=False).run
    write, killed = RunLog.step, []

    class Killed(Exception):
        pass

    def step(self, step, parts):
        write(self, step, parts)
        if step == 25 and not killed and bool(troubled) == (when == "after"):
            killed.append(step)
            raise Killed
        troubled.extend([step] if step == STEP else [])

    troubled = []
    monkeypatch.setattr(RunLog, "step", step)
    with pytest.raises(Killed):
        run_with("loss_spike", tmp_path / "killed", replayed=False)
    run_with("loss_spike", tmp_path / "killed", replayed=False)
    run = tmp_path / "killed" / "run"
    assert killed and (run / "losses.log").read_bytes() == (expected / "losses.log").read_bytes()
    assert [row["action"] for row in rows(run, "fault", "recovery")] == ["roll_back", "roll_back"]


def test_the_second_return_halves_the_learning_rate(tmp_path: Path) -> None:
    found = run_with("loss_divergence", tmp_path, ["inject=[{name: loss_divergence, step: 36, steps: 9}]", "safety.most_returns=2"], replayed=False)
    assert found.stopped is not None and "It had returned to an older state 2 times." in found.stopped
    # What it can go on from is the state before the trouble, not that after it.
    assert CheckpointStore(found.run / "checkpoints").load_latest().step == 10 and "The state of step 10 is saved in" in found.stopped
    recoveries = rows(found.run, "recovery")
    assert [row["rate_factor"] for row in recoveries] == [1.0, 0.5]
    rates = {row["step"]: row["lr"] for row in rows(found.run, "train")}
    assert rates[11] < 0.02 * rates[10] and rates[35] > 5 * rates[11]  # the new warm-up


def test_strict_stops_at_the_first_trouble_and_goes_on_when_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, model=LINEAR, steps_per_epoch=6)
    with monkeypatch.context() as patch:
        poison(patch, 2, 1)
        with pytest.raises(TrainingStopped, match="Training stopped: of the loss these parts are not finite.*The state of step 3 is saved in .*checkpoints/3. Find the cause: kseparation replay --incident=.*incidents/3"):
            train(config, run_dir=tmp_path / "run", strict=True)
    assert train(config, run_dir=tmp_path / "run").summary["steps"] == 12


def test_an_unreadable_batch_is_not_read_again_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, asked = SegmentBatches.batch, []

    def batch(self, epoch, index, draw=0):
        asked.append((epoch, index, draw))
        if (epoch, index, draw) == (0, 2, 0):
            raise OSError(5, "Input/output error", "song.wav")
        return sound(self, epoch, index, draw)

    monkeypatch.setattr(SegmentBatches, "batch", batch)
    config = tiny_config(tmp_path, model=LINEAR, steps_per_epoch=5)
    run = tmp_path / "run"
    train(config, run_dir=run)
    (fault,) = rows(run, "fault")
    assert (fault["event"], fault["action"], fault["position"], fault["draw"], fault["step"]) == ("unreadable", "redraw", 2, 0, 3)
    assert CheckpointStore(run / "checkpoints").load_latest().progress["detours"] == [[2, 2]]
    assert (0, 2, 1) in asked
    report = (run / "incidents" / "3" / "REPORT.md").read_text()
    assert "Input/output error" in report and "song.wav" in report


def test_a_bad_validation_is_reported_and_the_third_in_a_row_ends_the_training(tmp_path: Path) -> None:
    found = run_with("validation_nan", tmp_path, ["training.epochs=4"], steps_per_epoch=3)
    assert [(row["step"], row["action"]) for row in rows(found.run, "fault")] == [(3, "report"), (6, "report"), (9, "stop")]
    assert found.stopped.startswith("Training stopped: the validation loss after epoch 3 is nan")
    assert not (found.run / "model.keras").exists() and (found.run / "last.keras").exists()


def test_a_loss_that_begins_late_is_no_leap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = ["loss=[{name: waveform_l1, weight: 0.01}, {name: multi_resolution_complex_stft, windows: [256, 128], hop_samples: 64, minimum_fft_size: 1, start_step: 40}]"]
    config = tiny_config(tmp_path, late, model=LINEAR, epochs=1, steps_per_epoch=60)
    assert train(config, run_dir=tmp_path / "run").summary["returns"] == 0
    monkeypatch.setattr(watch_steps, "weights_change", lambda loss, step: False)
    with pytest.raises(TrainingStopped, match="times the usual"):
        train(config, run_dir=tmp_path / "without")


def test_a_training_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=4, steps_per_epoch=3)
    undisturbed = train(config, run_dir=tmp_path / "undisturbed").summary
    replace, full = atomic.os.replace, []
    rename = atomic.os.rename
    at = LogSteps.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        full[:] = [epoch] if epoch in (1, 2) else []
        at(self, epoch, logs)

    def refuse(function):
        def refusing(*arguments, **keywords):
            if full:
                raise OSError(28, "No space left on device")
            return function(*arguments, **keywords)

        return refusing

    monkeypatch.setattr(LogSteps, "on_epoch_end", on_epoch_end)
    monkeypatch.setattr(atomic.os, "replace", refuse(replace))
    monkeypatch.setattr(atomic.os, "rename", refuse(rename))
    summary = train(config, run_dir=tmp_path / "run").summary
    words = capsys.readouterr().err
    assert "the checkpoint of step 6 could not be written: No space left on device; the training goes on" in words
    assert "the checkpoint of step 12 was written, after 2 attempts that the disk refused" in words
    assert (tmp_path / "run" / "losses.log").read_bytes() == (tmp_path / "undisturbed" / "losses.log").read_bytes()
    assert CheckpointStore(tmp_path / "run" / "checkpoints").steps() == [3, 12]
    assert summary["best_validation_loss"] == undisturbed["best_validation_loss"]


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_a_signal_after_a_return_saves_where_the_training_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, seen = RunLog.step, []

    def step(self, step, parts):
        write(self, step, parts)
        seen.append(step)
        if step == 15 and STEP in seen and seen.count(15) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunLog, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run_with("loss_spike", tmp_path, replayed=False)
    checkpoint = CheckpointStore(tmp_path / "run" / "checkpoints").load_latest()
    assert checkpoint.step == 15 and len(checkpoint.progress["recovery"]["returns"]) == 1
    assert all(np.isfinite(value).all() for name, value in checkpoint.arrays.items() if "recorded" not in name and value.dtype.kind == "f")


@pytest.mark.parametrize("broken", ["has_room", "read_state", "write_incident"])
def test_evidence_that_cannot_be_kept_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, broken: str) -> None:
    def fail(*arguments):
        raise OSError(5, "Input/output error") if broken == "has_room" else ZeroDivisionError("of the evidence")

    monkeypatch.setattr(incident_record, broken, fail)
    found = run_with("gain_infinite", tmp_path, replayed=False, epochs=2)
    assert (found.event, found.action, found.incident) == ("non_finite", "skip", None) and read_json(found.run / "summary.json")["steps"] == 40
    assert f"the evidence of step {STEP} could not be " in capsys.readouterr().err


def test_another_backend_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    train(config, run_dir=tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    newest = store.load_latest()
    store.save(newest.step, newest.arrays, newest.progress | {"backend": "another"})
    train(tiny_config(tmp_path, model=LINEAR, epochs=2), run_dir=tmp_path / "run", allow=["training.epochs"])
    assert f"trained with another before, goes on with {keras.backend.backend()}: the same training, but not bit for bit" in capsys.readouterr().err


@pytest.mark.parametrize("place", [(CheckpointStore, "save", 2), (RunLog, "rewind", 1)], ids=["before the checkpoint", "before the log is cut"])
def test_a_kill_within_a_return_leaves_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple) -> None:
    expected = run_with("loss_spike", tmp_path / "undisturbed", replayed=False).run
    owner, name, which = place
    sound, calls = getattr(owner, name), []

    class Killed(Exception):
        pass

    def kill(self, *arguments, **keywords):
        calls.append(name)
        if len(calls) == which:
            raise Killed
        return sound(self, *arguments, **keywords)

    monkeypatch.setattr(owner, name, kill)
    with pytest.raises(Killed):
        run_with("loss_spike", tmp_path / "killed", replayed=False)
    run = run_with("loss_spike", tmp_path / "killed", replayed=False).run
    assert steps_logged(run) == list(range(1, 61))
    assert (run / "losses.log").read_bytes() == (expected / "losses.log").read_bytes()
    assert [row["kind"] for row in rows(run, "fault", "recovery")] == ["fault", "recovery"]


def test_a_return_on_a_full_disk_leaves_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """The first attempt at its checkpoint is refused; what makes room are those of the course that is left."""
    sound, calls = CheckpointStore.save, []

    def save(self, step, *arguments, **keywords):
        if self.folder.name == "checkpoints":
            calls.append(step)
        if calls == [20, 10]:
            raise OSError(28, "No space left on device")
        return sound(self, step, *arguments, **keywords)

    monkeypatch.setattr(CheckpointStore, "save", save)
    run = run_with("loss_spike", tmp_path, replayed=False).run
    assert calls[:3] == [20, 10, 10] and steps_logged(run) == list(range(1, 61))
    assert "the checkpoint of step 10 was written, after 1 attempt that the disk refused" in capsys.readouterr().err


def test_a_part_that_began_is_no_leap_after_a_resume(tmp_path: Path, interrupt_after: set[int]) -> None:
    late = ["loss=[{name: waveform_l1, weight: 0.01}, {name: multi_resolution_complex_stft, windows: [256, 128], hop_samples: 64, minimum_fft_size: 1, start_step: 40}]"]
    config = tiny_config(tmp_path, late, model=LINEAR, epochs=1, steps_per_epoch=70)
    interrupt_after.add(50)
    with pytest.raises(KeyboardInterrupt):
        train(config, run_dir=tmp_path / "run")
    assert train(config, run_dir=tmp_path / "run").summary["returns"] == 0


def test_batches_that_were_read_ahead_and_never_trained_on_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = SegmentBatches.batch

    def batch(self, epoch, index, draw=0):
        if (epoch, index, draw) == (0, 5, 0):
            raise OSError(5, "Input/output error", "song.wav")
        return sound(self, epoch, index, draw)

    monkeypatch.setattr(SegmentBatches, "batch", batch)
    losses = []
    for workers in (0, 1, 4):
        config = tiny_config(tmp_path, [f"data.workers={workers}"], model=LINEAR, epochs=1, steps_per_epoch=5)
        train(config, run_dir=tmp_path / f"run{workers}")
        assert rows(tmp_path / f"run{workers}", "fault") == []
        longer = tiny_config(tmp_path, [f"data.workers={workers}"], model=LINEAR, epochs=2, steps_per_epoch=5)
        train(longer, run_dir=tmp_path / f"run{workers}", allow=["training.epochs"])
        assert rows(tmp_path / f"run{workers}", "fault") == []  # epoch 1 has batches of its own
        losses.append((tmp_path / f"run{workers}" / "losses.log").read_bytes())
    assert len(set(losses)) == 1

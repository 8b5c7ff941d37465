import json
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.storage.checkpoints import CheckpointStore
from kseparation.training import GuardedOptimizer
from kseparation.training.interruption import Interruption
from kseparation.training.run_callbacks import KeepBest, LogSteps, SaveCheckpoint
from kseparation.training.run_log import RunLog
from kseparation.training.tensorboard import tensorboard_scalars
from kseparation.training.validation_set import ValidationSet
from tests.tiny_separator import fit, tiny_batches, tiny_separator


def run(folder: Path, batches, accumulate_steps=1, epochs=1, interruption=None, first_step=0, tensorboard=None):
    """Trains with the callbacks of a run; returns the model and the log of Keras without averaging over micro-batches."""
    model = tiny_separator(GuardedOptimizer(keras.optimizers.SGD(0.1), accumulate_steps=accumulate_steps))
    best = KeepBest(folder, len(batches) // accumulate_steps, None)
    micro = []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: micro.append(float(logs["total"])))
    with RunLog(folder) as log:
        steps = LogSteps(log, len(batches) // accumulate_steps, accumulate_steps, first_step, 2, epochs, tensorboard)
        save = SaveCheckpoint(CheckpointStore(folder / "checkpoints"), log, steps, best, interruption or Interruption())
        fit(model, batches, [record, steps, best, save], epochs=epochs, validation_data=ValidationSet(tiny_batches(1)))
    return model, micro


def logged(folder: Path) -> list[float]:
    return [float.fromhex(line.split("total=")[1].split(" ")[0]) for line in (folder / "losses.log").read_text().splitlines()]


def test_a_line_is_the_mean_over_the_micro_batches_of_a_step(tmp_path: Path) -> None:
    _, micro = run(tmp_path, tiny_batches(6), accumulate_steps=3)
    np.testing.assert_array_equal(logged(tmp_path), [np.mean(micro[:3]), np.mean(micro[3:])])


def test_a_bad_step_is_in_the_log(tmp_path: Path) -> None:
    batches = tiny_batches(4)
    batches[1][1][0, 0, 0, 0] = np.nan
    run(tmp_path, batches)
    assert np.isnan(logged(tmp_path)).tolist() == [False, True, False, False]
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["skipped_steps"], row["loss"] is None) for row in events if row["kind"] == "train"] == [(2, 1, True), (4, 1, False)]


def test_a_return_forgets_the_steps_after_it(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        steps = LogSteps(log, 10, 1, 0, 1, 1)
        for step in range(1, 6):
            log.step(step, {"total": float(step)})
            log.event("train", step, 0, loss=float(step))
            steps.recent.append({"step": step, "total": float(step)})
        steps.on_epoch_begin(0)
        steps.step = 5
        steps.rewind(3, 1)
        assert steps.step == 3 and [row["step"] for row in steps.recent] == [1, 2, 3]
        log.step(4, {"total": 9.0})
        log.event("train", 4, 0, loss=9.0)
        assert log.last_steps(2) == [{"step": 3, "total": 3.0}, {"step": 4, "total": 9.0}]
    assert logged(tmp_path) == [1, 2, 3, 9]
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row.get("course")) for row in events] == [*((step, None) for step in range(1, 6)), (4, 1)]
    with RunLog(tmp_path, 3, course=1) as log:
        assert LogSteps(log, 10, 1, 3, 1, 1).recent[-1] == {"step": 3, "total": 3.0}
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_an_epoch_leaves_models_and_a_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, tiny_batches(2), epochs=2, first_step=10)
    assert (tmp_path / "model.keras").is_file() and (tmp_path / "last.keras").is_file()
    checkpoint = CheckpointStore(tmp_path / "checkpoints").load_latest()
    assert checkpoint.step == 14
    assert checkpoint.progress["step"] == 14 and checkpoint.progress["backend"] == keras.backend.backend()
    assert float.fromhex(checkpoint.progress["best_loss"]) > 0 and checkpoint.progress["best_step"] in (2, 4)


def test_the_best_of_an_earlier_process_stays_the_best(tmp_path: Path) -> None:
    class Model:
        stop_training = False

        def save(self, path):
            Path(path).write_text("saved")

    best = KeepBest(tmp_path, 10, 2, "loss", {"best_loss": (0.5).hex(), "best_step": 40, "judged_by": "loss"})
    best.set_model(Model())
    best.model.optimizer = None
    best.on_epoch_end(4, {"val_total": 0.6})
    assert not (tmp_path / "model.keras").exists() and not best.ended_early
    best.on_epoch_end(5, {"val_total": 0.7})
    assert best.ended_early and best.model.stop_training
    left = best.progress() | {"step": 60}
    assert left == {"best_loss": (0.5).hex(), "best_step": 40, "judged_by": "loss", "step": 60}
    assert KeepBest(tmp_path, 10, 2, "loss", left).ended_early
    assert not KeepBest(tmp_path, 10, 3, "loss", left).ended_early
    judged_anew = KeepBest(tmp_path, 10, 2, "another loss", left)
    assert (judged_anew.best_step, judged_anew.ended_early) == (None, False)


def test_an_interruption_waits_for_the_last_micro_batch(tmp_path: Path) -> None:
    interruption = Interruption()
    interruption.received = 2
    interruption.act = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_batches(6), accumulate_steps=2, interruption=interruption)
    assert CheckpointStore(tmp_path / "checkpoints").load_latest().step == 1
    assert len(logged(tmp_path)) == 1


def test_tensorboard_events_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    with tensorboard_scalars(tmp_path / "none", False) as writer:
        assert writer is None
    with tensorboard_scalars(tmp_path / "events", True) as writer:
        run(tmp_path, tiny_batches(2), tensorboard=writer)
    assert not (tmp_path / "none").exists()
    data = b"".join(path.read_bytes() for path in (tmp_path / "events").iterdir())
    assert all(tag in data for tag in (b"train/loss", b"train/lr", b"validation/loss", b"validation/sdr_segments"))

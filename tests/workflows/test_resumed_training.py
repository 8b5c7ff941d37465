"""Runs that go on: after an interruption at any place, after a stop, and with another config."""

import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.config import load_config
from kseparation.data import SegmentStream, ValidationSegments
from kseparation.errors import CheckFailed, TrainingStopped, UserError
from kseparation.models import MODELS
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.storage.json_lines import read_json_lines
from kseparation.training.run_callbacks import KeepBest
from kseparation.training.run_log import RunLog
from kseparation.workflows.train import train
from tests.on_backend import numbers, without_graphs
from tests.songs import write_songs
from tests.tiny_run import MODEL, poison, rows, tiny_config
from tests.tiny_separator import TinySeparator

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")
LINEAR = {"name": "tiny_separator"}


@pytest.fixture(autouse=True)
def tiny_separator_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is built in no time, where the test is not about the model."""
    monkeypatch.setitem(MODELS, "tiny_separator", TinySeparator)


def train_to_the_end(config, run_dir: Path) -> tuple[dict, int]:
    """Gives the command again until it is not interrupted; returns the summary and the number of interruptions."""
    interruptions = 0
    while True:
        try:
            return train(config, run_dir=run_dir).summary, interruptions
        except KeyboardInterrupt:
            interruptions += 1


def load(file: Path):
    return keras.saving.load_model(file, custom_objects={"tests>TinySeparator": TinySeparator}, compile=False)


def what_it_found(folder: Path) -> tuple:
    """Losses of all steps and validations, and the kept models, without times."""
    validations = [{key: value for key, value in row.items() if key != "seconds"} for row in rows(folder, "validation")]
    weights = [[numbers(weight).tolist() for weight in load(folder / name).weights] for name in ("model.keras", "last.keras")]
    return (folder / "losses.log").read_bytes(), validations, weights


def test_an_interruption_anywhere_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt_after: set[int]) -> None:
    """In the first step, inside an epoch, in the last step of one, in a validation, and in the very last step."""
    model = {"name": "tiny_separator", "dropout": 0.3}
    config = tiny_config(tmp_path, model=model, epochs=4, steps_per_epoch=3, accumulate_steps=2, early_stopping_patience=9)
    expected = train(config, run_dir=tmp_path / "undisturbed").summary
    interrupt_after.update({1, 3, 5, 12})
    read, pending = ValidationSegments.__getitem__, [3]

    def interrupted(self, index):
        pending[0] -= 1
        if pending[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return read(self, index)

    monkeypatch.setattr(ValidationSegments, "__getitem__", interrupted)
    summary, interruptions = train_to_the_end(config, tmp_path / "interrupted")
    assert interruptions == 5
    assert summary | {"run": ""} == expected | {"run": ""}
    assert what_it_found(tmp_path / "interrupted") == what_it_found(tmp_path / "undisturbed")


def test_a_start_from_the_data_and_a_loss_that_comes_later_go_on_as_they_began(tmp_path: Path, interrupt_after: set[int]) -> None:
    model = {"name": "mask_unet", "window_samples": 32, "hop_samples": 16, "filters": [2], "output_bias": "from_data"}
    losses = ["loss=[{name: waveform_l1, weight: 10.0, start_step: 2, ramp_steps: 3}]"]
    config = tiny_config(tmp_path, losses, model=model, epochs=2, steps_per_epoch=3)
    train(config, run_dir=tmp_path / "undisturbed")
    interrupt_after.update({1, 4})
    _, interruptions = train_to_the_end(config, tmp_path / "interrupted")
    assert interruptions == 2
    assert what_it_found(tmp_path / "interrupted") == what_it_found(tmp_path / "undisturbed")
    lines = (tmp_path / "interrupted" / "losses.log").read_text().splitlines()
    waves = [float.fromhex(line.rpartition("waveform_l1=")[2]) for line in lines]
    # Logged as it counts; the model changes little in six steps.
    np.testing.assert_allclose(np.array(waves) / waves[-1], [0, 0, 1 / 3, 2 / 3, 1, 1], atol=0.2)
    assert waves[:2] == [0, 0]
    starts = rows(tmp_path / "interrupted", "start")
    assert len(starts) == 1 and starts[0]["output_bias/vocals"] == pytest.approx(np.log(starts[0]["mean_mask/vocals"] / (1 - starts[0]["mean_mask/vocals"])))


@pytest.mark.slow
def test_the_real_model_goes_on_exactly_with_all_threads(tmp_path: Path, interrupt_after: set[int]) -> None:
    """On TensorFlow operation by operation; its graphs go on in `test_interrupted_training.py`."""
    model = {**MODEL, "transformers": 0, "bands": 1}  # which some backend takes long to compile
    config = tiny_config(tmp_path, model=model, epochs=1, steps_per_epoch=4)
    with without_graphs():
        train(config, run_dir=tmp_path / "undisturbed")
        interrupt_after.update({2})
        _, interruptions = train_to_the_end(config, tmp_path / "interrupted")
    assert interruptions == 1
    assert what_it_found(tmp_path / "interrupted") == what_it_found(tmp_path / "undisturbed")


def test_a_stopped_run_with_accumulation_keeps_in_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, ["safety.most_returns=0"], model=LINEAR, epochs=2, steps_per_epoch=4, accumulate_steps=3, max_skipped_in_a_row=2)
    with monkeypatch.context() as patch:
        poison(patch, 0, 99)
        with pytest.raises(TrainingStopped, match="2 in a row.*checkpoints/0."):
            train(config, run_dir=tmp_path / "run")
        with pytest.raises(TrainingStopped, match="2 in a row.*checkpoints/0."):
            train(config, run_dir=tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert store.steps() == [0]
    assert all(int(value) == 0 for name, value in store.load_latest().arrays.items() if name.endswith("micro_step"))
    assert train(config, run_dir=tmp_path / "run").summary["steps"] == 8
    assert len((tmp_path / "run" / "losses.log").read_text().splitlines()) == 8


def test_an_argument_of_a_component_is_allowed_under_its_own_key(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run")
    changed = tiny_config(tmp_path, ["loss.0.weight=5.0", "training.optimizer.beta_1=0.8"], model=LINEAR, epochs=2)
    with pytest.raises(UserError, match="--allow=loss.0.weight,training.epochs,training.optimizer.beta_1"):
        train(changed, run_dir=tmp_path / "run")
    train(changed, run_dir=tmp_path / "run", allow=["loss.0.weight", "training.epochs", "training.optimizer.beta_1"])
    assert load_config(tmp_path / "run" / "config.yaml") == changed


def test_another_loss_has_its_own_best_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run")
    before = (tmp_path / "run" / "model.keras").stat().st_mtime_ns
    louder = tiny_config(tmp_path, ["loss.0.weight=1000.0"], model=LINEAR, epochs=2)

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(RunLog, "step", killed)
        train(louder, run_dir=tmp_path / "run", allow=["loss", "training.epochs"])
    summary = train(louder, run_dir=tmp_path / "run").summary
    assert summary["best_epoch"] == 2 and (tmp_path / "run" / "model.keras").stat().st_mtime_ns > before


def test_what_does_not_touch_the_loss_leaves_the_best_model(tmp_path: Path) -> None:
    first = train(tiny_config(tmp_path, model=LINEAR, epochs=2), run_dir=tmp_path / "run").summary
    changed = tiny_config(tmp_path, ["data.workers=1", "logging.every_n_steps=3"], model=LINEAR, epochs=2)
    assert train(changed, run_dir=tmp_path / "run", allow=["data.workers", "logging"]).summary == first


def test_the_same_command_goes_on_after_a_key_was_taken_away(tmp_path: Path) -> None:
    first = tiny_config(tmp_path, ["training.optimizer={name: adamw, learning_rate: 0.001, beta_1: 0.8}"], model=LINEAR, epochs=1)
    train(first, run_dir=tmp_path / "run")
    second = tiny_config(tmp_path, ["training.optimizer={name: adamw, learning_rate: 0.001}"], model=LINEAR, epochs=1)
    for _ in range(2):
        assert train(second, run_dir=tmp_path / "run", allow=["training.optimizer.beta_1"]).summary["steps"] == 2


def validation_losses(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """Lets the validations of the runs to come have these losses."""
    values, keep = iter(losses), KeepBest.on_epoch_end
    monkeypatch.setattr(KeepBest, "on_epoch_end", lambda self, epoch, logs=None: keep(self, epoch, {"val_total": next(values)}))


def test_a_run_that_ended_early_goes_on_with_more_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(patience):
        return tiny_config(tmp_path, model=LINEAR, epochs=6, early_stopping_patience=patience)

    validation_losses(monkeypatch, 1.0, 2.0, 3.0, 4.0)
    first = train(config(1), run_dir=tmp_path / "run").summary
    assert (first["ended_early"], first["epochs"]) == (True, 2)
    second = train(config(3), run_dir=tmp_path / "run", allow=["training.early_stopping_patience"]).summary
    assert (second["ended_early"], second["epochs"], second["best_epoch"]) == (True, 4, 1)


def test_a_changed_config_goes_on_where_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 0, 1)
    with pytest.raises(TrainingStopped):
        train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run", strict=True)
    longer = tiny_config(tmp_path, model=LINEAR, epochs=1, ema=0.8)
    with pytest.raises(UserError, match="`training.ema` was 0.9, now 0.8"):
        train(longer, run_dir=tmp_path / "run")
    result = train(longer, run_dir=tmp_path / "run", allow=["training.ema"])
    assert result.summary["steps"] == 2
    assert load_config(tmp_path / "run" / "config.yaml") == longer
    resumed = rows(tmp_path / "run", "resume")
    assert [(row["step"], row["from_backend"]) for row in resumed] == [(1, keras.backend.backend())]


def test_a_finished_run_goes_on_where_more_is_allowed(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run")
    longer = tiny_config(tmp_path, model=LINEAR, epochs=3)
    with pytest.raises(UserError, match="`--allow` names no key of the config. Received: training.epoch. Did you mean `training.epochs`"):
        train(longer, run_dir=tmp_path / "run", allow=["training.epoch"])
    summary = train(longer, run_dir=tmp_path / "run", allow=["training.epochs"]).summary
    assert (summary["steps"], summary["epochs"]) == (6, 3) and load_config(tmp_path / "run" / "config.yaml") == longer


def test_a_change_that_the_checkpoint_cannot_follow_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 0, 1)
    with pytest.raises(TrainingStopped):
        train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run", strict=True)
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(UserError, match="The run cannot go on with another `training.accumulate_steps`: The checkpoint is of another"):
        train(tiny_config(tmp_path, model=LINEAR, epochs=1, accumulate_steps=2), run_dir=tmp_path / "run", allow=["training"])
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    assert train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run").summary["steps"] == 2


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, model=LINEAR)
    train(config, run_dir=tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    for state in (tmp_path / "run" / "checkpoints").glob("*/state.npz"):
        state.write_bytes(state.read_bytes()[:-40])
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "run.lock"}
    with pytest.raises(CheckFailed, match="No checkpoint in .* is sound. Received: steps .2, 4., all damaged"):
        train(config, run_dir=tmp_path / "run")
    assert {path: path.read_bytes() for path in files} == files


def test_checkpoints_without_a_config_are_nobodys(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    train(config, run_dir=tmp_path / "run")
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(UserError, match="has checkpoints but no config.yaml"):
        train(config, run_dir=tmp_path / "run")


def test_a_run_that_has_lost_its_checkpoints_does_not_begin_anew(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(CheckFailed, match="has been trained and has no checkpoint"):
        train(tiny_config(tmp_path, model=LINEAR, epochs=2), run_dir=tmp_path / "run", allow=["training.epochs"])
    assert {path: path.read_bytes() for path in files} == files


def test_a_run_that_is_killed_in_its_first_epoch_begins_anew(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    train(config, run_dir=tmp_path / "run")
    losses = (tmp_path / "run" / "losses.log").read_bytes()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "summary.json").unlink()
    assert train(config, run_dir=tmp_path / "run").summary["steps"] == 2
    assert (tmp_path / "run" / "losses.log").read_bytes() == losses


def test_other_songs_are_refused_unless_they_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    poison(monkeypatch, 0, 1)
    with pytest.raises(TrainingStopped):
        train(config, run_dir=tmp_path / "run", strict=True)
    write_songs(tmp_path / "songs", {"train": {"c": 2700}})
    copy = shutil.copytree(tmp_path / "songs", tmp_path / "copy")
    elsewhere = tiny_config(tmp_path, [f"data.root={copy}", "data.workers=1"], model=LINEAR, epochs=1)
    for given, allow in ((config, []), (elsewhere, ["data.root", "data.workers"])):
        with pytest.raises(UserError, match="The training songs are not those that the run was begun with.* --resume=.*run --allow=data"):
            train(given, run_dir=tmp_path / "run", allow=allow)
    assert train(config, run_dir=tmp_path / "run", allow=["data"]).summary["steps"] == 2


def test_other_validation_songs_have_their_own_best_model(tmp_path: Path) -> None:
    train(tiny_config(tmp_path, model=LINEAR, epochs=1), run_dir=tmp_path / "run")
    write_songs(tmp_path / "songs", {"validation": {"w": 2100}})
    summary = train(tiny_config(tmp_path, model=LINEAR, epochs=2), run_dir=tmp_path / "run", allow=["training.epochs"]).summary
    assert summary["best_epoch"] == 2


def test_a_run_that_is_shortened_does_not_go_on(tmp_path: Path, interrupt_after: set[int]) -> None:
    interrupt_after.update({5})
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(tmp_path, model=LINEAR, epochs=3, steps_per_epoch=3), run_dir=tmp_path / "run")
    shorter = tiny_config(tmp_path, model=LINEAR, epochs=1, steps_per_epoch=3)
    assert train(shorter, run_dir=tmp_path / "run", allow=["training.epochs"]).summary["steps"] == 5


def test_a_signal_after_the_last_checkpoint_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = SegmentStream.__exit__
    monkeypatch.setattr(SegmentStream, "__exit__", lambda self, *given: signal.raise_signal(signal.SIGINT) or close(self, *given))
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
    assert train(config, run_dir=tmp_path / "run").summary["steps"] == 2


def test_a_stop_in_the_last_step_of_an_epoch_owes_its_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    poison(monkeypatch, 1, 2)
    with pytest.raises(TrainingStopped) as first:
        train(config, run_dir=tmp_path / "run", strict=True)
    with pytest.raises(TrainingStopped) as second:
        train(config, run_dir=tmp_path / "run", strict=True)
    assert str(second.value).partition("; 1 in a row")[0] == str(first.value).partition("; 1 in a row")[0]
    assert not (tmp_path / "run" / "summary.json").exists()
    longer = tiny_config(tmp_path, model=LINEAR, epochs=2)
    assert train(longer, run_dir=tmp_path / "run", allow=["training.epochs"]).summary["steps"] == 4
    validated = [row["step"] for row in read_json_lines(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "validation"]
    assert validated == [2, 4]


def test_a_bad_validation_does_not_end_the_patience_and_three_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, read, ended = KeepBest.on_epoch_end, ValidationSegments.__getitem__, []

    def remembered(self, epoch, logs=None):
        keep(self, epoch, logs)
        ended.append(epoch)

    def bad_after_the_first_epoch(self, index):
        mixtures, stems = read(self, index)
        return mixtures, stems * np.nan if ended else stems

    monkeypatch.setattr(KeepBest, "on_epoch_end", remembered)
    monkeypatch.setattr(ValidationSegments, "__getitem__", bad_after_the_first_epoch)
    config = tiny_config(tmp_path, model=LINEAR, epochs=4, early_stopping_patience=1)
    for words in ("Training stopped: the validation loss after epoch 4 is nan", "Training stopped: .* nothing was trained now. Begin another run: --resume=never"):
        with pytest.raises(TrainingStopped, match=words):
            train(config, run_dir=tmp_path / "run")
    assert ended == [0, 1, 2]
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    config, run = tiny_config(tmp_path, model=LINEAR, epochs=3), tmp_path / "run"
    train(config, run_dir=run)
    expected = what_it_found(run)
    (run / "summary.json").unlink()
    state = run / "checkpoints" / "6" / "state.npz"
    state.write_bytes(state.read_bytes()[:-40])
    train(config, run_dir=run)
    assert what_it_found(run) == expected
    assert [row["step"] for row in rows(run, "resume")] == [4]


def test_allow_belongs_to_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`--allow` belongs to a run that goes on. Received: training.epochs"):
        train(tiny_config(tmp_path, model=LINEAR), allow=["training.epochs"])


def test_results_of_something_else_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="holds the summary.json of something else"):
        train(tiny_config(tmp_path, model=LINEAR), run_dir=tmp_path)

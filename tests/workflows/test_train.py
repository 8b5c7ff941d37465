"""The training workflow on the smallest model: what it writes, refuses and goes on with."""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile

from kseparation.cli.main import main
from kseparation.config import load_config
from kseparation.data import SegmentBatches, ValidationSegments
from kseparation.errors import MachineError, TrainingStopped, UserError
from kseparation.models import MODELS, load_model
from kseparation.reporting.report import write_report
from kseparation.storage.atomic import read_json
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.storage.run_lock import RunLock
from kseparation.training.run_callbacks import KeepBest
from kseparation.workflows import train as workflow
from kseparation.workflows.build import build_objective
from kseparation.workflows.tasks import separation, task_of
from kseparation.workflows.train import train
from tests.on_backend import compute, numbers, without_graphs
from tests.songs import write_songs
from tests.tiny_run import MODEL, child_environment, poison, tiny_config, write_config
from tests.tiny_separator import TinySeparator

LINEAR = {"name": "tiny_separator"}
PARTS = ["total", "multi_resolution_complex_stft/128", "multi_resolution_complex_stft/256", "waveform_l1"]


BACKENDS = ("tensorflow", "torch", "jax")
OPEN_AND_SEPARATE = """
import sys, numpy as np
from kseparation.models import load_model
model = load_model(sys.argv[1])
np.save(sys.argv[2], model.predict_segments(np.load(sys.argv[3])))
"""


@pytest.fixture(autouse=True)
def tiny_separator_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is built in no time, where the test is not about the model."""
    monkeypatch.setitem(MODELS, "tiny_separator", TinySeparator)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two epochs: its folder, config and result."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny_config(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "write_report", write_report)
        return folder / "run", config, train(config, run_dir=folder / "run")


def rows(folder: Path) -> list[dict]:
    return [json.loads(line, parse_constant=lambda name: 1 / 0) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_files_of_a_run(finished) -> None:
    folder, config, result = finished
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "model.keras", "last.keras", "environment.json", "summary.json", "report.html"),
        *("losses.log", "metrics.jsonl", "checkpoints", "snapshots", "run.lock"),
    }
    assert load_config(folder / "config.yaml") == config
    assert CheckpointStore(folder / "checkpoints").steps() == [2, 4]
    assert read_json(folder / "environment.json")["backend"] == keras.backend.backend()
    assert result.summary == read_json(folder / "summary.json")
    assert (result.summary["steps"], result.summary["epochs"], result.summary["skipped_steps"]) == (4, 2, 0)
    assert result.summary["parameters"] == load_model(folder).count_params()
    report = (folder / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<(?:svg|img) ", report)
    assert len(figures) >= 3 and "steps_per_epoch: 2" in report and keras.__version__ in report


def test_losses_log_has_every_step_exactly(finished) -> None:
    lines = (finished[0] / "losses.log").read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        step, *parts = line.split(" ")
        values = {name: float.fromhex(value) for name, value in (part.split("=") for part in parts)}
        assert int(step) == number and list(values) == PARTS
        assert values["total"] == pytest.approx(sum(values[name] for name in PARTS[1:]), rel=1e-5)
        assert all(re.fullmatch(r".*=-?0x1\.[0-9a-f]+p[+-]\d+", part) for part in parts)
    assert len(lines) == 4


def test_metrics_are_json_events(finished) -> None:
    events = rows(finished[0])
    assert [(row["kind"], row["step"], row["epoch"]) for row in events] == [
        *[("train", 1, 0), ("train", 2, 0), ("validation", 2, 0)],
        *[("train", 3, 1), ("train", 4, 1), ("validation", 4, 1)],
    ]
    assert {"seconds", "loss", "waveform_l1", "lr", "grad_norm", "skipped_steps"} <= set(events[0])
    assert {"loss", "waveform_l1", "sdr_segments"} <= set(events[2])


def test_a_model_gives_the_same_on_every_backend(finished, tmp_path: Path) -> None:
    mixtures = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 900, 2)).astype("float32")
    np.save(tmp_path / "mixtures.npy", mixtures)
    here = keras.backend.backend()
    outputs = {here: load_model(finished[0]).predict_segments(mixtures)}
    for backend in {*BACKENDS} - {here}:
        out = tmp_path / f"{backend}.npy"
        code = [sys.executable, "-c", OPEN_AND_SEPARATE, str(finished[0]), str(out), str(tmp_path / "mixtures.npy")]
        subprocess.run(code, env={**child_environment(), "KERAS_BACKEND": backend}, check=True, capture_output=True)
        outputs[backend] = np.load(out)
    trained_on = outputs[here]
    assert len(outputs) == 3
    assert np.sqrt(np.mean(trained_on**2)) > 0.01
    for output in outputs.values():
        assert np.abs(output - trained_on).max() <= 1e-4 * np.abs(trained_on).max()


def test_a_finished_run_says_so(finished, capsys: pytest.CaptureFixture) -> None:
    folder, config, result = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert train(config, run_dir=folder) == result
    assert "is finished; see its summary.json" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert main(["train", "--config", str(folder.parent / "tiny.yaml"), "--run_dir", str(folder)]) == 0


def test_another_config_is_refused(finished) -> None:
    folder, _, _ = finished
    with pytest.raises(UserError, match="`seed` was 0, now 9"):
        train(tiny_config(folder.parent, ["seed=9"]), run_dir=folder)


def test_a_run_in_use_is_left_alone(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run"), pytest.raises(MachineError, match="is in use by another process"):
        train(tiny_config(tmp_path), run_dir=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.root=nowhere", "`data.root` is not a folder. Received: nowhere"),
        ("data.name=builtin", "`data.root` does not go with the data set `builtin`"),
        ("data.stems=[vocals,bass]", "A song lacks the stem `bass`"),
        ("model.width=7", "`bands` must divide"),
        ("model.widht=8", "Did you mean `width`"),
        ("augment=[{name: remix, probability: 2.0}]", "`augment.0`: `probability` must lie between 0 and 1"),
        ("training.optimizer.beta_1=-1.0", "`beta_1` must lie between 0 and below 1"),
    ],
)
def test_nothing_is_written_where_config_or_data_are_wrong(tmp_path: Path, override: str, words: str, capsys) -> None:
    config = write_config(tmp_path)
    assert main(["train", "--config", str(config), "--run_dir", str(tmp_path / "run"), f"--set={override}"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("run_dir", "words"), [("file/run", "is not a folder. Choose another --run_dir"), ("x" * 300, "cannot be used: File name too long")])
def test_a_folder_that_cannot_be_written_is_refused_before_the_data_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, run_dir: str, words: str) -> None:
    monkeypatch.setattr(separation, "construct_dataset", lambda task: pytest.fail("too late"))
    (tmp_path / "file").touch()
    assert main(["train", "--config", str(write_config(tmp_path)), "--run_dir", str(tmp_path / run_dir)]) == 2
    assert words in capsys.readouterr().err


def test_stems_that_add_up_need_all_of_a_song(tmp_path: Path) -> None:
    write_songs(tmp_path / "songs", {"train": {"c": 2000}}, stems=("vocals", "drums", "bass"))
    write_songs(tmp_path / "songs", {"train": {"d": 2000}, "validation": {"v": 2000}})
    with pytest.raises(UserError, match="The songs hold more than `data.stems`, but the stems of this model add up .* Received: data.stems=vocals, drums, and more in the mixture of `c` at 0.0 s"):
        train(tiny_config(tmp_path, ["model.output=softmax_mask"]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_songs_are_looked_at_too(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, ["model.output=softmax_mask"])
    write_songs(tmp_path / "songs", {"validation": {"w": 2000}}, stems=(*config.data.stems, "bass"))
    with pytest.raises(UserError, match="The songs hold more than `data.stems`.* in the mixture of `w`"):
        train(config, run_dir=tmp_path / "run")


def test_a_sample_that_is_not_a_number_is_refused_before_the_first_step(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    audio = np.zeros((3000, 2), "float32")
    audio[41, 0] = np.nan
    soundfile.write(tmp_path / "songs" / "train" / "a" / "drums.wav", audio, 8000, subtype="FLOAT")
    with pytest.raises(UserError, match="drums.wav"):
        train(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_cannot_be_read_end_the_training_with_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other examples cannot be read either, and in a validation, which has no others."""

    def unreadable(self, epoch, index, draw=0):
        raise UserError("`drums.wav` is truncated.")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="`drums.wav` is truncated."):
        patch.setattr(SegmentBatches, "batch", unreadable)
        train(tiny_config(tmp_path, model=LINEAR), run_dir=tmp_path / "run")
    for sound in (0, 2):  # some backend reads the first ones itself
        read, left = ValidationSegments.__getitem__, [sound]

        def then_unreadable(self, index):
            left[0] -= 1
            return read(self, index) if left[0] >= 0 else unreadable(self, 0, index)

        with monkeypatch.context() as patch, pytest.raises(UserError, match="`drums.wav` is truncated."):
            patch.setattr(ValidationSegments, "__getitem__", then_unreadable)
            train(tiny_config(tmp_path, model=LINEAR, epochs=4), run_dir=tmp_path / f"run{sound}")


def test_bad_steps_without_end_end_the_training_with_code_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Ten in a row lead back to the last good state, three times, with other examples, which are bad too."""
    poison(monkeypatch, 1, 99)
    config = write_config(tmp_path, model=LINEAR, epochs=1, steps_per_epoch=14)
    assert main(["train", "--config", str(config), "--run_dir", str(tmp_path / "run")]) == 4
    words = capsys.readouterr().err
    assert "Training stopped: of the loss these parts are not finite: total" in words and "10 in a row. It had returned to an older state 3 times." in words
    checkpoint = CheckpointStore(tmp_path / "run" / "checkpoints").load_latest()
    assert checkpoint.step == 0  # the last state that can be trusted: there was a single sound step
    assert all(np.isfinite(array).all() for name, array in checkpoint.arrays.items() if not name.endswith("gradient_norm") and "/recorded_" not in name)
    actions = [row["action"] for row in rows(tmp_path / "run") if row["kind"] == "fault"]
    assert actions == 9 * ["skip"] + ["roll_back"] + 2 * (9 * ["skip"] + ["roll_back_slower"]) + 9 * ["skip"] + ["stop"]
    assert not (tmp_path / "run" / "summary.json").exists()


def test_one_bad_step_is_skipped_and_strict_training_ends_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 1, 1)
    summary = train(tiny_config(tmp_path, model=LINEAR, epochs=1, steps_per_epoch=3), run_dir=tmp_path / "run").summary
    assert (summary["skipped_steps"], summary["steps"], summary["incidents"], summary["returns"]) == (1, 3, 1, 0)
    with pytest.raises(TrainingStopped, match="these parts are not finite: total.*; 1 in a row"):
        train(tiny_config(tmp_path, model=LINEAR, epochs=1, steps_per_epoch=3), run_dir=tmp_path / "strict", strict=True)


def test_a_run_that_another_process_ended_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, model=LINEAR, epochs=1)
    check = separation.check_tracks

    def in_the_meantime(tracks):
        monkeypatch.setattr(separation, "check_tracks", check)
        train(config, run_dir=tmp_path / "run")
        return check(tracks)

    monkeypatch.setattr(separation, "check_tracks", in_the_meantime)
    with pytest.raises(MachineError, match="Another process has just worked in"):
        train(config, run_dir=tmp_path / "run")
    assert len((tmp_path / "run" / "losses.log").read_text().splitlines()) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_the_end_is_the_same_where_reading_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, workers: int) -> None:
    """Some backend then waits for the next batch in a thread of its own."""
    poison(monkeypatch, 1, 99)
    fast = SegmentBatches.batch
    monkeypatch.setattr(SegmentBatches, "batch", lambda *place: time.sleep(0.2) or fast(*place))
    config = write_config(tmp_path, model=LINEAR, epochs=1, steps_per_epoch=14, max_skipped_in_a_row=2)
    command = ["train", "--config", str(config), "--run_dir", str(tmp_path / "run"), f"--set=data.workers={workers}"]
    assert main(command) == 4, capsys.readouterr().err


def test_a_run_trains_on_what_its_config_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Songs, seed, augmentations, schedule and the averaged weights all arrive where they are used."""
    read, seen = SegmentBatches.batch, []

    def remembered(self, epoch, index, draw=0):
        seen.append(self)
        return read(self, epoch, index, draw)

    monkeypatch.setattr(SegmentBatches, "batch", remembered)
    overrides = ["seed=5", "augment=[{name: polarity, probability: 0.25}]", "data.workers=0", "logging.every_n_steps=1"]
    config = tiny_config(
        tmp_path, overrides, model=LINEAR, epochs=2, steps_per_epoch=5, accumulate_steps=2, warmup_steps=4, schedule="linear_tail", ema=0.9
    )
    train(config, run_dir=tmp_path / "run")
    batches = seen[0]
    assert [song.name for song in batches.songs] == ["a", "b"] and batches.seed == 5 and len(seen) >= 20
    assert [(type(one).__name__, one.probability) for one in batches.augmentations] == [("Polarity", 0.25)]
    # Up to the peak in four steps, down over the last 40 % of the six after them.
    rates = [row["lr"] / 5e-4 for row in rows(tmp_path / "run") if row["kind"] == "train"]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, *[1.0] * 5, 2 / 2.4, 1 / 2.4], atol=1e-5)
    # The validation loss is that of the saved, averaged weights on the validation song.
    model = keras.saving.load_model(tmp_path / "run" / "last.keras", custom_objects={"tests>TinySeparator": TinySeparator}, compile=False)
    objective = build_objective(task_of(config))
    mixtures, stems = task_of(config).validation[0]
    expected = float(numbers(objective(stems, model(mixtures, training=False))))
    validated = [row["loss"] for row in rows(tmp_path / "run") if row["kind"] == "validation"]
    assert validated[-1] == pytest.approx(expected, rel=1e-4)


def test_a_run_follows_from_its_seed(tmp_path: Path) -> None:
    def losses(name, seed):
        train(tiny_config(tmp_path, [f"seed={seed}"], model=LINEAR, epochs=1), run_dir=tmp_path / name)
        return (tmp_path / name / "losses.log").read_bytes()

    first = losses("first", 5)
    assert losses("again", 5) == first != losses("other", 6)


def test_the_first_weights_follow_from_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, first = workflow.build_model, []

    def built(task):
        model = build(task)
        first.append(np.concatenate([numbers(weight).ravel() for weight in model.trainable_weights]))
        raise RuntimeError("seen enough")

    monkeypatch.setattr(workflow, "build_model", built)
    for seed in (5, 5, 6):
        with pytest.raises(RuntimeError, match="seen enough"):
            train(tiny_config(tmp_path, [f"seed={seed}"], model=LINEAR), run_dir=tmp_path / "run")
    assert np.array_equal(first[0], first[1]) and not np.array_equal(first[0], first[2])


def test_the_other_settings_arrive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, sizes, places, compiled = SegmentBatches.batch, set(), [], []

    def remembered(self, *place):
        sizes.add((self.batch_size, self.segment_samples))
        return read(self, *place)

    monkeypatch.setattr(SegmentBatches, "batch", remembered)
    segments, compile_model = separation.ValidationSegments, TinySeparator.compile
    monkeypatch.setattr(separation, "ValidationSegments", lambda *arguments: places.append(arguments[3:]) or segments(*arguments))
    monkeypatch.setattr(TinySeparator, "compile", lambda self, **given: compiled.append(given["jit_compile"]) or compile_model(self, **given))
    overrides = ["data.overlap=0.5", "logging.every_n_steps=2", "logging.tensorboard=true"]
    config = tiny_config(tmp_path, overrides, model=LINEAR, epochs=3, batch_size=3, keep_checkpoints=2, jit_compile="auto")
    train(config, run_dir=tmp_path / "run")
    assert sizes == {(3, 800)} and places == [(3, 0.5)] and compiled == [keras.backend.backend() != "torch"]
    best = read_json(tmp_path / "run" / "summary.json")["best_epoch"]
    assert CheckpointStore(tmp_path / "run" / "checkpoints").steps() == sorted({2 * best, 4, 6})
    assert [row["step"] for row in rows(tmp_path / "run") if row["kind"] == "train"] == [2, 4, 6]
    assert any((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.slow  # one backend takes a minute to compile each
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_what_must_be_float32(tmp_path: Path, policy: str) -> None:
    square = np.sign(np.sin(np.arange(3000) / 7))[:, None].repeat(2, axis=1) * 0.999
    config = tiny_config(tmp_path, model={**MODEL, "bands": 2}, epochs=1, steps_per_epoch=6, dtype_policy=policy)
    for stem, audio in (("vocals", square), ("drums", np.zeros_like(square))):
        soundfile.write(tmp_path / "songs" / "train" / "a" / f"{stem}.wav", audio, 8000)
    with without_graphs() if policy == "mixed_float16" else contextlib.nullcontext():
        result = train(config, run_dir=tmp_path / "run")
    # The first loss scale of float16 is too large for such loud songs and is found within a few steps.
    assert result.summary["skipped_steps"] <= (4 if policy == "mixed_float16" else 0)
    parts = [part for line in (tmp_path / "run" / "losses.log").read_text().splitlines() for part in line.split()[1:]]
    assert all(np.isfinite(float.fromhex(part.split("=")[1])) for part in parts)
    assert keras.config.dtype_policy().name == "float32"
    model = load_model(tmp_path / "run")
    assert {numbers(weight).dtype.name for weight in model.weights} <= {"float32", "int32", "uint32", "int64"}
    assert all(layer.dtype_policy.name == policy for layer in (model, model.first))
    assert model.compute_output_spec(keras.KerasTensor((1, 800, 2), "float32")).dtype == "float32"
    for mixture in (square[None, :800], np.zeros((1, 800, 2))):
        output = compute(model, mixture.astype("float32"))
        assert output.dtype == np.float32 and np.isfinite(output).all()


def test_early_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 2.5])
    keep = KeepBest.on_epoch_end
    monkeypatch.setattr(KeepBest, "on_epoch_end", lambda self, epoch, logs=None: keep(self, epoch, {"val_total": next(losses)}))
    summary = train(tiny_config(tmp_path, model=LINEAR, epochs=5, steps_per_epoch=1, early_stopping_patience=1), run_dir=tmp_path / "run").summary
    assert (summary["epochs"], summary["best_epoch"], summary["best_validation_loss"], summary["ended_early"]) == (3, 2, 2.0, True)

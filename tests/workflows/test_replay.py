"""`replay` beyond the table of faults: other ways to run it, what it writes, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kseparation.cli.main import main
from kseparation.errors import UserError
from kseparation.models import MODELS
from kseparation.storage.arrays import read_arrays, write_arrays
from kseparation.storage.atomic import read_json
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.training.faults.batch_faults import GainInfinite
from kseparation.workflows.replay import replay
from tests.faulty_run import STEP, run_with
from tests.tiny_run import child_environment
from tests.tiny_separator import TinySeparator

ELSEWHERE = """
import json, sys
from kseparation.models import MODELS
from kseparation.workflows.replay import replay
from tests.tiny_separator import TinySeparator
MODELS["tiny_separator"] = TinySeparator
print(json.dumps(replay(sys.argv[1]).summary))
"""


@pytest.fixture(autouse=True)
def tiny_separator_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny_separator", TinySeparator)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run in which a layer gave infinity."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny_separator", TinySeparator)
        return run_with("layer_infinite", tmp_path_factory.mktemp("run")).run


@pytest.fixture
def incident(run: Path, tmp_path: Path) -> Path:
    """A copy of its incident, with the run around it."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run" / "incidents" / str(STEP)


def test_the_losses_before_the_step_are_those_of_the_training(incident: Path) -> None:
    tried = replay(incident).summary["tried"]
    assert any(f"ran steps 11 to {STEP} from the state before them" in words and "all 26 losses are those of the training, bit for bit" in words for words in tried)


def test_from_an_older_state_the_same_step_fails(incident: Path) -> None:
    with pytest.raises(UserError, match="`--from_steps_before` needs a checkpoint of step 6 or before. Received: a run with checkpoints of steps"):
        replay(incident, from_steps_before=30)
    with pytest.raises(UserError, match=f"`--from_steps_before` must be at most {STEP}, for the incident is of step {STEP}. Received: 9999"):
        replay(incident, from_steps_before=9999)
    state = read_arrays(incident / "state_before.npz")
    CheckpointStore(incident.parent.parent / "checkpoints", keep=9).save(4, state, {"step": 4, "recovery": {"returns": []}})
    result = replay(incident, from_steps_before=30)
    assert result.diagnosis.verdict == "layer"
    assert any("ran steps 5 to 36" in words and "the losses are not those of the training" in words for words in result.diagnosis.tried)  # the state is not that of step 4


def test_in_another_precision_the_losses_are_not_held_against_it(incident: Path) -> None:
    cause = (incident / "replay.json").read_bytes()
    result = replay(incident, dtype="mixed_bfloat16")
    assert result.diagnosis.verdict == "layer" and result.summary["dtype"] == "mixed_bfloat16"
    assert "## Replayed in mixed_bfloat16" in (incident / "REPORT.md").read_text()
    assert (incident / "replay.json").read_bytes() == cause  # that of the training as it was


def without_songs(incident: Path) -> None:
    config = incident / "config.yaml"
    text = config.read_text()
    root = next(line.split(": ", 1)[1] for line in text.splitlines() if line.strip().startswith("root:"))
    config.write_text(text.replace(root, str(incident.parent / "gone")))
    (incident / "MANIFEST.json").unlink()


def test_without_the_songs_the_step_itself_is_run(incident: Path) -> None:
    without_songs(incident)
    result = replay(incident)
    assert result.diagnosis.verdict == "layer"
    tried = result.diagnosis.tried
    assert "has no MANIFEST.json" in tried[0] and "the training songs are not there" in tried[1] and f"ran step {STEP} from the state at its end" in tried[3]


def test_without_the_songs_nothing_is_called_sound_and_no_better_cause_is_lost(tmp_path: Path) -> None:
    """The state at the end of a spike is not that before it."""
    incident = run_with("loss_spike", tmp_path).incident
    cause, report = read_json(incident / "replay.json"), (incident / "REPORT.md").read_text()
    without_songs(incident)
    diagnosis = replay(incident).diagnosis
    assert diagnosis.verdict == "not_reproduced" and "whether they would bring it again cannot be told" in diagnosis.reason
    assert cause["verdict"] == "loss" and read_json(incident / "replay.json") == cause
    assert read_json(incident / "replay_without_the_songs.json")["verdict"] == "not_reproduced"
    after = (incident / "REPORT.md").read_text()
    assert "**loss**" in after and "## Replayed without the songs" in after and after.index("## Replayed") < after.index("## If it goes on")
    assert after.startswith(report[: report.index("## If it goes on")])


def test_another_backend_finds_the_same(incident: Path) -> None:
    here = keras.backend.backend()
    other = {"tensorflow": "torch", "torch": "jax", "jax": "torch"}[here]
    code = [sys.executable, "-W", "ignore", "-c", ELSEWHERE, str(incident)]
    done = subprocess.run(code, env={**child_environment(), "KERAS_BACKEND": other}, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["verdict"], found["trained_with"], found["replayed_with"]) == ("layer", here, other)
    assert found["layer"].endswith("/dense")
    assert f"## Replayed with {other}" in (incident / "REPORT.md").read_text() and (incident / f"replay_with_{other}.json").is_file()


def test_the_command_writes_the_cause_into_the_report(incident: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["replay", "--incident", str(incident), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == read_json(incident / "replay.json")
    assert (found["verdict"], found["step"], found["batches"]) == ("layer", STEP, [{"position": STEP - 1, "draw": 0}])
    report = (incident / "REPORT.md").read_text()
    assert main(["replay", "--incident", str(incident)]) == 0
    assert capsys.readouterr().out.startswith("layer: In ")
    assert (incident / "REPORT.md").read_text() == report
    assert "Not looked for yet" not in report and "## If it goes on" in report and "vocals from sample" in report


def test_a_batch_that_is_sound_now_is_not_blamed(incident: Path) -> None:
    """A batch without the mark: the layer is sound with it, and so is the step."""
    arrays = read_arrays(incident / "batch.npz")
    (incident / "MANIFEST.json").unlink()
    write_arrays(incident / "batch.npz", {name: np.where(np.abs(audio) == 97 / 128, 0, audio).astype("float32") for name, audio in arrays.items()})
    diagnosis = replay(incident).diagnosis
    assert diagnosis.verdict == "nondeterministic" and "computes other losses than the training did" in diagnosis.reason


@pytest.mark.parametrize("damage", ["state_at.npz", "state_before.npz", "batch.npz", "incident.json", "config.yaml"])
def test_a_damaged_incident_is_refused_by_its_file(incident: Path, damage: str, capsys: pytest.CaptureFixture) -> None:
    file = incident / damage
    written = file.read_bytes()
    place = len(written) // 2
    file.write_bytes(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :])  # of the same length
    assert main(["replay", "--incident", str(incident)]) == 2
    assert f"{damage}` of the incident is not what was written" in capsys.readouterr().err
    file.unlink()
    assert main(["replay", "--incident", str(incident)]) == 2
    assert damage in capsys.readouterr().err
    (incident / "MANIFEST.json").unlink()
    file.write_bytes(written[:100] if damage != "config.yaml" else b"data: [")
    assert main(["replay", "--incident", str(incident)]) == 2
    assert damage in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"step": None}, {"event": "storm"}, {"losses": [{"step": 1, "total": "high"}]}, {"detours": [3]}, {"recovery": {}}, {"micro_batches": [{}]}])
def test_facts_that_are_missing_or_wrong_are_refused(incident: Path, change: dict) -> None:
    """Of an incident that has no manifest, which would tell first."""
    (incident / "MANIFEST.json").unlink()
    facts = {**read_json(incident / "incident.json"), **change}
    (incident / "incident.json").write_text(json.dumps({name: value for name, value in facts.items() if value is not None}))
    with pytest.raises(UserError, match="incident.json` is damaged.*Restore it from a copy"):
        replay(incident)


def test_a_batch_that_the_incident_lacks_is_read_again_or_the_replay_refused(incident: Path) -> None:
    (incident / "MANIFEST.json").unlink()
    (incident / "batch.npz").unlink()
    result = replay(incident)
    assert result.diagnosis.verdict == "layer" and f"Micro-batch 0 of step {STEP}, batch {STEP - 1} of the run, is not in `batch.npz`: it was read again" in " ".join(result.diagnosis.tried)
    config = incident / "config.yaml"
    config.write_text(config.read_text().replace("songs", "gone"))
    with pytest.raises(UserError, match=f"Micro-batch 0 of step {STEP}, batch {STEP - 1} of the run, is not in the `batch.npz` of the incident.*cannot be read again"):
        replay(incident)


def test_what_is_no_incident_is_refused(tmp_path: Path, incident: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["replay"]) == 2
    assert main(["replay", f"--incident={tmp_path}"]) == 2
    words = capsys.readouterr().err
    assert "`--incident` is required" in words and "There is no incident.json in it" in words
    (incident / "state_at.npz").unlink()
    (incident / "MANIFEST.json").unlink()
    with pytest.raises(UserError, match="holds no states of the training"):
        replay(incident)


def test_a_loss_of_one_part_is_blamed_where_the_model_gives_the_usual(tmp_path: Path) -> None:
    found = run_with("loss_spike", tmp_path, ["loss=[{name: waveform_l1}]"])
    assert (found.event, found.verdict, found.position) == ("spike", "loss", STEP - 1)
    assert "what the model gives is as large as usual" in read_json(found.incident / "replay.json")["reason"]


def test_a_part_that_began_on_the_way_is_not_taken_for_what_leapt(tmp_path: Path) -> None:
    late = "loss=[{name: waveform_l1, weight: 0.01}, {name: multi_resolution_complex_stft, windows: [256, 128], hop_samples: 64, minimum_fft_size: 1, start_step: 25}]"
    fault = "inject=[{name: loss_spike, step: 55}]"
    found = run_with("loss_spike", tmp_path, [late, fault, "safety.snapshot_every_steps=20"], epochs=1, steps_per_epoch=56)
    replayed = read_json(found.incident / "replay.json")
    assert (found.event, found.verdict, replayed["part"]) == ("spike", "loss", "waveform_l1") and read_json(found.incident / "incident.json")["before_step"] == 20


def test_a_batch_that_is_far_too_loud_is_named_with_its_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain of a thousand is finite, and no fault of the loss."""

    def loud(self, mixtures, stems, micro_batch):
        stems[1] *= 1000
        mixtures[1] *= 1000

    monkeypatch.setattr(GainInfinite, "change_batch", loud)
    found = run_with("gain_infinite", tmp_path)
    assert (found.event, found.verdict, found.position) == ("spike", "data", STEP - 1)
    replayed = read_json(found.incident / "replay.json")
    assert replayed["examples"] == [[0, 1]] and {song["stem"] for song in replayed["songs"]} == {"vocals", "drums"}

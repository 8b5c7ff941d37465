import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kseparation.storage.arrays import read_arrays
from kseparation.training import incidents
from kseparation.training.incidents import Incident, clean_incidents, has_room, write_incident


def incident(**changes) -> Incident:
    values = {
        "event": "non_finite",
        "action": "skip",
        "step": 12,
        "epoch": 1,
        "reason": "Of the loss these parts are not finite: total; 1 in a row",
        "micro_batches": [{"position": 11, "draw": 1}],
        "losses": [{"step": 11, "total": 0.5}, {"step": 12, "total": float("nan")}],
        "recorded": {
            "layers": ["m/a", "m/b"],
            "step": np.array([11.0, 12.0]),
            "grad_norm": np.array([1.0, np.nan]),
            "lr": np.array([0.1, 0.1]),
            "accepted": np.array([1.0, 0.0]),
            "gradients": np.array([[1.0, 2.0], [1.5, np.inf]]),
            "updates": np.zeros((2, 2)),
        },
        "activations": {"layers": ["m/a"], "scales": np.array([[3.0]])},
        "before_step": 10,
        "before": {"00000/model/m/a/kernel": np.ones(3, "float32")},
        "at": {"00000/model/m/a/kernel": np.zeros(3, "float32")},
        "plan": [[[{"song": "a"}]]],
        "batches": {"mixtures_0": np.array([[[np.inf]]], "float32"), "stems_0": np.zeros((1, 1, 1, 1), "float32")},
        "next_rung": ("half the learning rate", ("training.optimizer.learning_rate=0.1",)),
    }
    return Incident(**{**values, **changes})


def test_the_folder_holds_all_that_is_known(tmp_path: Path) -> None:
    folder = write_incident(tmp_path, incident(), "seed: 0\n")
    assert folder == tmp_path / "incidents" / "12"
    facts = json.loads((folder / "incident.json").read_text())
    assert facts["losses"] == [{"step": 11, "total": (0.5).hex()}, {"step": 12, "total": "nan"}]
    assert (facts["event"], facts["action"], facts["before_step"]) == ("non_finite", "skip", 10)
    rows = list(csv.DictReader((folder / "steps.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["11", "12"]
    assert rows[1]["gradient m/b"] == "inf" and rows[1]["total"] == "nan" and rows[0]["output m/a"] == "" and rows[1]["output m/a"] == "3"
    assert read_arrays(folder / "state_before.npz")["00000/model/m/a/kernel"].tolist() == [1, 1, 1]
    assert read_arrays(folder / "batch.npz")["mixtures_0"].shape == (1, 1, 1)
    report = (folder / "REPORT.md").read_text()
    for words in (
        "Batch 11 of the run, drawn anew 1 time.",
        "1 values of the mixtures of micro-batch 0 are not finite, in example 0; the first is inf, sample 0 of channel 0, all counted from 0.",
        "| m/b | inf | 2 |",
        f"kseparation replay --incident={folder}",
        "--set=training.optimizer.learning_rate=0.1",
    ):
        assert words in report


def test_scales_of_outputs_are_joined_by_their_steps(tmp_path: Path) -> None:
    activations = {"layers": ["m/a"], "steps": np.array([9, 11]), "scales": np.array([[7.0], [3.0]])}
    folder = write_incident(tmp_path, incident(activations=activations), "")
    rows = list(csv.DictReader((folder / "steps.csv").read_text().splitlines()))
    assert [(row["step"], row["output m/a"]) for row in rows] == [("11", "3"), ("12", "")]


def test_more_scales_than_steps_end_with_the_last_step(tmp_path: Path) -> None:
    folder = write_incident(tmp_path, incident(activations={"layers": ["m/a"], "scales": np.array([[5.0], [7.0], [3.0]])}), "")
    assert [row["output m/a"] for row in csv.DictReader((folder / "steps.csv").read_text().splitlines())] == ["7", "3"]


def test_the_name_follows_from_what_happened(tmp_path: Path) -> None:
    """A training that was killed computes the step again: its evidence takes the place of the same one, and of no other."""
    unreadable = [incident(event="unreadable", action="redraw", micro_batches=[{"position": 11, "draw": draw}]) for draw in range(3)]
    told = [(incident(), 0), (incident(event="spike", action="roll_back"), 0), *((one, 0) for one in unreadable), (incident(), 1), (incident(step=40), 1)]
    names = ["12", "12-spike", "12-unreadable", "12-unreadable-2", "12-unreadable-3", "12-2", "40-2"]
    for _ in range(2):
        assert [write_incident(tmp_path, one, "", returns).name for one, returns in told] == names
    assert sorted(path.name for path in (tmp_path / "incidents").iterdir()) == sorted(names)
    again = write_incident(tmp_path, incident(epoch=7), "")
    assert json.loads((again / "incident.json").read_text())["epoch"] == 7


def test_what_lies_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "incidents" / "12").mkdir(parents=True)
    (tmp_path / "incidents" / "12" / "notes.txt").write_text("mine")
    (tmp_path / "incidents" / "12-non_finite").write_text("mine too")
    assert write_incident(tmp_path, incident(), "").name == "12-non_finite-2"
    assert (tmp_path / "incidents" / "12" / "notes.txt").read_text() == "mine"


def test_what_the_training_passed_leaves_room_for_what_it_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MOST_INCIDENTS", 5)
    monkeypatch.setattr(incidents, "MOST_MINOR", 2)

    def write(step, action):
        room = has_room(tmp_path, incident(step=step, action=action))
        assert (write_incident(tmp_path, incident(step=step, action=action), "") is not None) == room
        return room

    assert [write(1, "skip"), write(2, "redraw"), write(3, "report"), write(4, "skip")] == [True, True, False, False]
    assert [write(5, "roll_back"), write(6, "roll_back_slower"), write(7, "stop"), write(8, "stop")] == [True, True, True, False]
    assert has_room(tmp_path, incident(step=1)) and write_incident(tmp_path, incident(step=1), "").name == "1"  # the same again takes no room


def test_only_incidents_are_counted_and_leftovers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MOST_INCIDENTS", 2)
    clean_incidents(tmp_path)  # there is none yet
    folder = write_incident(tmp_path, incident(), "")
    parent = folder.parent
    (parent / "notes.txt").write_text("mine")
    for name in (".tmp-13-1-ab", ".old-12", ".old-14"):
        shutil.copytree(folder, parent / name)
    assert has_room(tmp_path, incident(step=13, action="stop"))
    clean_incidents(tmp_path)
    assert sorted(path.name for path in parent.iterdir()) == ["12", "14", "notes.txt"]  # what was moved aside for 14, which never came, is kept
    assert not has_room(tmp_path, incident(step=13, action="stop"))
    (folder / "incident.json").write_text("{")
    assert not has_room(tmp_path, incident(step=13, action="stop"))


def states(folder: Path) -> bool:
    return (folder / "state_at.npz").exists() and (folder / "state_before.npz").exists()


def test_states_too_large_to_keep_each_time_are_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MOST_BYTES", 10)
    write_incident(tmp_path, incident(step=1, before=None, at=None, before_step=None), "")
    folders = [write_incident(tmp_path, incident(step=step), "") for step in (2, 3, 4)]
    assert [states(folder) for folder in folders] == [True, True, False]
    words = "The states of the training are left out, because the incidents of this run take more than"
    assert [words in (folder / "REPORT.md").read_text() for folder in folders] == [False, False, True]
    assert [json.loads((folder / "incident.json").read_text())["before_step"] for folder in folders] == [10, 10, None]
    assert states(write_incident(tmp_path, incident(step=2), "")) and not states(write_incident(tmp_path, incident(step=4), ""))
    assert "There are no states of the training here." in (tmp_path / "incidents" / "1" / "REPORT.md").read_text()
    monkeypatch.setattr(incidents, "MOST_BYTES", 1 << 30)
    assert states(write_incident(tmp_path, incident(step=5), ""))


def test_a_name_that_is_no_utf8_costs_no_evidence(tmp_path: Path) -> None:
    """As file names of the last century are."""
    name = b"a\xe9".decode("utf-8", "surrogateescape")
    plan = [[[{"song": name, "file": f"songs/{name}/vocals.wav"}]]]
    folder = write_incident(tmp_path, incident(event="unreadable", action="redraw", plan=plan, reason=f"`{name}` is no sound"), f"root: {name}\n")
    assert "`songs/a\\udce9/vocals.wav`" in (folder / "REPORT.md").read_text() and json.loads((folder / "plan.json").read_text()) == plan


def test_a_batch_that_could_not_be_read_needs_no_states(tmp_path: Path) -> None:
    folder = write_incident(tmp_path, incident(event="unreadable", action="redraw"), "")
    assert not (folder / "state_at.npz").exists() and not (folder / "state_before.npz").exists() and (folder / "batch.npz").exists()
    assert "The states of the training are left out: the batch could not be read" in (folder / "REPORT.md").read_text()


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    bare = Incident("unreadable", "redraw", 3, 0, "Batch 2 could not be read", trace="Traceback: no such file")
    folder = write_incident(tmp_path, bare, "")
    assert {path.name for path in folder.iterdir()} == {"REPORT.md", "incident.json", "steps.csv", "config.yaml", "MANIFEST.json"}
    assert "Traceback: no such file" in (folder / "REPORT.md").read_text()

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from kseparation.storage.arrays import read_arrays
from kseparation.training import incidents
from kseparation.training.incidents import Incident, write_incident


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
        "1 values of the mixtures of micro-batch 0 are not finite, the first at (0, 0, 0): inf.",
        "| m/b | inf | 2 |",
        f"kseparation replay --incident={folder}",
        "--set=training.optimizer.learning_rate=0.1",
    ):
        assert words in report


def test_a_second_incident_of_a_step_has_a_name_of_its_own_and_there_is_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MOST_INCIDENTS", 3)
    folders = [write_incident(tmp_path, incident(), "") for _ in range(4)]
    assert [folder and folder.name for folder in folders] == ["12", "12-2", "12-3", None]


def test_states_too_large_to_keep_twenty_times_are_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_incident(tmp_path, incident(), "")
    monkeypatch.setattr(incidents, "MOST_BYTES", 10)
    second = write_incident(tmp_path, incident(), "")
    assert (first / "state_at.npz").exists() and not (second / "state_at.npz").exists()
    assert "states of the training are left out" in (second / "REPORT.md").read_text()


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    bare = Incident("unreadable", "redraw", 3, 0, "Batch 2 could not be read", trace="Traceback: no such file")
    folder = write_incident(tmp_path, bare, "")
    assert {path.name for path in folder.iterdir()} == {"REPORT.md", "incident.json", "steps.csv", "config.yaml"}
    assert "Traceback: no such file" in (folder / "REPORT.md").read_text()

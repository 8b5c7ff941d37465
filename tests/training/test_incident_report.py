import csv
from pathlib import Path

import numpy as np

from kseparation.training.evidence import Diagnosis, Incident
from kseparation.training.incident_report import (
    CAUSE,
    cause_text,
    report_text,
    steps_table,
    with_data_at_fault,
    with_section,
)

CHOICE = {"song": "a song", "stem": "vocals", "start": 44, "gain": 0.5, "file": "songs/a song/vocals.wav"}


def incident(**changes) -> Incident:
    recorded = {
        "layers": ["m", "m/a"],
        "step": np.array([11.0, 12.0]),
        "grad_norm": np.array([1.0, 9.0]),
        "lr": np.array([0.1, 0.1]),
        "accepted": np.array([1.0, 1.0]),
        "gradients": np.array([[1.0, 2.0], [9.0, 2.0]]),
        "updates": np.zeros((2, 2)),
    }
    values = {"event": "spike", "action": "roll_back", "step": 12, "epoch": 1, "reason": "The loss is 9.", "recorded": recorded, "micro_batches": [{"position": 11, "draw": 0}]}
    return Incident(**{**values, **changes})


def test_a_report_tells_of_the_batch_the_layers_the_cause_and_what_comes_next() -> None:
    told = report_text(incident(plan=[[[CHOICE]]], batches={"stems_0": np.zeros((1, 1, 4, 2), "float32")}, next_rung=("float32", ("training.dtype_policy=float32",))), Path("in/12"))
    assert "What was seen: the loss of one step lay far above those before it. The loss is 9.\n" in told
    assert "Batch 11 of the run.\n\nWhat it is made of: `plan.json`; the sound itself: `batch.npz`.\n" in told
    assert "| m itself | 9 | 1 |\n| m/a | 2 | 2 |\n" in told  # what belongs to no layer of its own is not taken for one
    headings = [line for line in told.splitlines() if line.startswith("## ")]
    assert headings == ["## The batch", "## The layers", "## The cause", "## If it goes on"]


def test_a_batch_that_could_not_be_read_has_no_layers_and_names_its_files() -> None:
    told = report_text(incident(event="unreadable", action="redraw", plan=[[[CHOICE, CHOICE]]], trace="OSError: of a song", next_rung=("float32", ())), Path("in/12"))
    assert "- `songs/a song/vocals.wav`\n" in told and told.count("vocals.wav") == 1 and "batch.npz" not in told
    headings = [line for line in told.splitlines() if line.startswith("## ")]
    assert headings == ["## The batch", "## The error", "## The cause", "## What to do"]  # safer settings read no file


def test_a_validation_names_its_batch_and_songs_and_no_layers() -> None:
    plan = [{"validation_batch": 3, "segments": [{"song": "v", "start": 700}]}]
    told = report_text(incident(event="validation", action="report", micro_batches=[], plan=plan, batches={"mixtures_0": np.full((1, 1, 2), np.nan)}), Path("in/12"))
    assert "Batch 3 of the validation" in told and "- `v` from sample 700" in told and "2 values of the mixtures of micro-batch 0 are not finite" in told
    assert "## The layers" not in told
    assert "## The batch" not in report_text(incident(event="validation", action="report", micro_batches=[]), Path("in/12"))


def test_a_stem_that_is_not_finite_is_named() -> None:
    stems = np.zeros((3, 2, 4, 2), "float32")
    stems[1, 0, 2] = np.nan
    plan = [[[{**CHOICE, "stem": "vocals"}, {**CHOICE, "stem": "drums"}]] * 3]
    told = report_text(incident(plan=plan, batches={"stems_0": stems}), Path("in/12"))
    assert "2 values of the stems of micro-batch 0 are not finite, in vocals of example 1; the first is nan, sample 2 of channel 0, all counted from 0.\n" in told
    stems[:] = np.inf
    assert "48 values of the stems of micro-batch 0 are not finite, in vocals of example 0, drums of example 0, vocals of example 1, drums of example 1, others; the" in report_text(
        incident(batches={"stems_0": stems}, plan=plan), Path("in/12")
    )
    assert "in stem 0 of example 0," in report_text(incident(batches={"stems_0": stems}), Path("in/12"))


def test_where_the_data_are_at_fault_no_safer_settings_are_offered() -> None:
    report = with_section(report_text(incident(next_rung=("float32", ())), Path("in/12")), CAUSE, "the file\n")
    mended = with_data_at_fault(report)
    assert [line for line in mended.splitlines() if line.startswith("## ")] == ["## The batch", "## The layers", "## The cause", "## What to do"]
    assert "the file\n" in mended and mended.endswith("mend it or take it out of the data. No safer setting of the training mends a batch.\n")
    assert with_data_at_fault(mended) == mended


def test_a_section_is_replaced_by_another_of_its_heading_and_a_new_one_comes_before_what_is_next() -> None:
    report = report_text(incident(next_rung=("float32", ())), Path("in/12"))
    found = cause_text(Diagnosis("layer", "In m/a `log` gives infinity.", "m/a", operation="log", tried=["ran it", "ran it again"]), [CHOICE])
    assert found.startswith("**layer**: a layer gave what is not finite out of what is. In m/a `log` gives infinity.\n- layer: `m/a`\n- operation: `log`\n")
    assert "- vocals from sample 44 of `a song` (songs/a song/vocals.wav), gain 0.5\n" in found and found.endswith("1. ran it\n1. ran it again\n")
    once = with_section(report, CAUSE, found)
    assert "Not looked for yet" not in once and once.endswith(report[report.index("## If it goes on") :]) and with_section(once, CAUSE, found) == once
    twice = with_section(once, "## Replayed with jax", "sound\n")
    assert twice.index(CAUSE) < twice.index("\n\n## Replayed with jax\n\nsound\n\n") < twice.index("## If it goes on") and "**layer**" in twice
    assert with_section(once, "## Replayed with jax", "sound\n") == with_section(twice, "## Replayed with jax", "sound\n")


def test_the_table_of_steps_has_a_row_for_each() -> None:
    rows = list(csv.DictReader(steps_table(incident()).splitlines()))
    assert [(row["step"], row["grad_norm"], row["gradient m/a"]) for row in rows] == [("11", "1", "2"), ("12", "9", "2")]

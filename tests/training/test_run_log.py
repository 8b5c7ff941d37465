import json
import os
from pathlib import Path

import pytest

from kseparation.training.run_log import RunLog


def test_a_step_is_a_line_of_exact_numbers(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.step(1, {"total": 0.1, "waveform_l1": 3.0})
        log.step(2, {"total": float("nan"), "waveform_l1": float("inf")})
    first, second = (tmp_path / "losses.log").read_text().splitlines()
    assert first == f"1 total={(0.1).hex()} waveform_l1={(3.0).hex()}"
    assert second == "2 total=nan waveform_l1=inf"


def test_a_kill_while_it_is_cut_back_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunLog(tmp_path) as log:
        for step in range(1, 11):
            log.step(step, {"total": float(step)})
            log.event("train", step, 0, loss=float(step))
    before = [(tmp_path / name).read_bytes() for name in ("losses.log", "metrics.jsonl")]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        RunLog(tmp_path, step=8)
    assert [(tmp_path / name).read_bytes() for name in ("losses.log", "metrics.jsonl")] == before


def test_of_starts_without_a_checkpoint_between_the_last_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be equal, for what a start finds is determined, and the clock stands at zero."""
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    for _ in range(3):
        with RunLog(tmp_path) as log:
            log.event("start", 0, 0, mean_mask=0.25)
            log.event("train", 1, 1, loss=1.0)
    RunLog(tmp_path).close()
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [{"kind": "start", "step": 0, "epoch": 0, "seconds": 0.0, "mean_mask": 0.25}]


def test_an_event_is_json_without_nan(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.event("train", 3, 1, loss=float("nan"), lr=0.5, skipped_steps=2)
    row = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=lambda name: 1 / 0)
    assert row.pop("seconds") >= 0
    assert row == {"kind": "train", "step": 3, "epoch": 1, "loss": None, "lr": 0.5, "skipped_steps": 2}


def test_damaged_logs_do_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    (tmp_path / "losses.log").write_bytes(b"1 total=0x1p+0\n\xff\xfe\n2 total=0x1p+1\n")
    (tmp_path / "metrics.jsonl").write_bytes(b'[3]\n{"step": "x"}\n\xff\n{"kind": "train", "step": 1}\n')
    RunLog(tmp_path, step=2).close()
    assert (tmp_path / "losses.log").read_text() == "1 total=0x1p+0\n2 total=0x1p+1\n"
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"kind": "train", "step": 1}


def test_a_log_that_lost_its_beginning_is_cut_at_the_step(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for step in range(6, 13):
            log.step(step, {"total": float(step)})
    with open(tmp_path / "losses.log", "a") as file:
        file.write("1")  # of step 13
    RunLog(tmp_path, step=10).close()
    assert [int(line.split()[0]) for line in (tmp_path / "losses.log").read_text().splitlines()] == [6, 7, 8, 9, 10]


def test_what_lies_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for step in range(1, 6):
            log.step(step, {"total": float(step)})
            log.event("train", step, 0, loss=float(step))
    for name in ("losses.log", "metrics.jsonl"):
        with open(tmp_path / name, "a") as file:
            file.write('{"kind": "tra')  # half a line, as a killed process leaves it
    with RunLog(tmp_path, step=3) as log:
        log.step(4, {"total": 40.0})
        log.event("train", 4, 0, loss=40.0)
    assert (tmp_path / "losses.log").read_text().splitlines() == [f"{step} total={float(value).hex()}" for step, value in ((1, 1), (2, 2), (3, 3), (4, 40))]
    assert [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1.0, 2.0, 3.0, 40.0]

"""Processes that are killed between, before and in the calls with which they save a checkpoint; `benchmarks/resume.py` does it at 200 places."""

import os
from pathlib import Path

import pytest

from tests.fault_points import FaultPoints, in_a_child
from tests.killed_store import calls_of_all_saves, choose_points, faults_after_a_kill, kept_after


def test_a_process_killed_in_its_saves_leaves_the_old_state_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nine tenths of the time, and what was written outlives its process anyhow
    calls, kept = calls_of_all_saves(tmp_path / "count"), kept_after(tmp_path / "kept")
    assert {"mkdir", "open", "write", "fsync", "replace", "rename", "unlink", "rmdir"} == set(calls)
    assert kept[-1] == [20, 40, 55, 70]
    points = choose_points(calls, 40)
    assert len(points) == 40 and {moment for _, moment in points} == {"before", "half", "after"}
    assert [fault for point, moment in points for fault in faults_after_a_kill(tmp_path / "store", point, moment, kept)] == []


def test_a_write_can_be_done_by_half(tmp_path: Path) -> None:
    """Else the faults above would be fewer than they seem."""
    for moment, size in (("before", 0), ("half", 5), ("after", 10)):
        file = tmp_path / moment
        assert in_a_child(lambda report: file.write_bytes(bytes(10)), FaultPoints(1, moment)) == ([], True)
        assert file.stat().st_size == size

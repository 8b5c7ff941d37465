from pathlib import Path

import numpy as np
import pytest

from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint
from kseparation.training.snapshots import Snapshot, Snapshots


def filled(*steps, **arguments):
    snapshots = Snapshots(**arguments)
    for step in steps:
        snapshots.add(step, {"w": step})
    return snapshots


def test_the_last_few_are_kept() -> None:
    snapshots = filled(0, 50, 100, 150)
    assert len(snapshots) == 3 and [snapshots.trusted(step).step for step in (71, 121, 171)] == [50, 100, 150]
    assert snapshots.is_due(200) and not snapshots.is_due(150) and not snapshots.is_due(201)


def test_a_state_is_trusted_when_the_training_went_on_from_it() -> None:
    snapshots = filled(50, 100, 150)
    assert snapshots.trusted(180).step == 150
    assert snapshots.trusted(165).step == 100
    assert snapshots.trusted(180, before=150).step == 100
    assert snapshots.trusted(60).step == 50  # the only one there is
    assert snapshots.trusted(60, before=50) is None


def test_states_of_a_course_that_was_left_are_forgotten() -> None:
    snapshots = filled(50, 100, 150)
    snapshots.add(60, {}, {"a": 1})
    assert snapshots.trusted(999).step == 60 and snapshots.trusted(999).notes == {"a": 1} and snapshots.trusted(60).step == 50


@pytest.mark.parametrize("arguments", [{"every_steps": 0}, {"keep": 1}])
def test_limits(arguments: dict) -> None:
    with pytest.raises(ValueError, match="`every_steps` must be at least 1 and `keep` at least 2"):
        Snapshots(**arguments)


def test_they_come_back_from_the_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(tmp_path, keep=6)
    snapshots = Snapshots(50, 3, store)
    for step in (0, 50, 100, 150):
        snapshots.add(step, {"w": np.float32([step])}, {"a": step})
        snapshots.write()
    assert snapshots.steps() == [50, 100, 150] and store.steps() == [0, 50, 100, 150]
    (tmp_path / "100" / "state.npz").unlink()
    again = Snapshots(50, 3, store)
    again.restore([50, 100, 150])
    assert f"`{tmp_path / '100'}`, to return to in trouble, is missing or damaged and is left out" in caplog.text
    assert again.steps() == [50, 150] and again.trusted(171).arrays["w"] == [150] and again.trusted(171).notes == {"a": 150}
    again.add(60, {"w": np.float32([60])})  # where the training has returned to
    again.write()
    assert store.steps() == [0, 50, 60]


def test_before_a_checkpoint_of_an_older_state_nothing_is_replaced_or_deleted(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=6)
    snapshots = Snapshots(50, 3, store)
    snapshots.add(100, {"w": np.float32([100])})
    snapshots.add(150, {"w": np.float32([150])})
    snapshots.write()
    snapshots = Snapshots(50, 3, store)
    snapshots.add(50, {"w": np.float32([50])})
    snapshots.add(100, {"w": np.float32([-100])})  # at another rate
    snapshots.write(before=100)
    assert store.steps() == [50, 100, 150] and load_checkpoint(tmp_path / "100").arrays["w"] == [100]
    later = Snapshots(50, 3, store)
    later.restore([50, 100], Snapshot(100, {"w": np.float32([-100])}, {"a": 1}))
    assert later.trusted(121).arrays["w"] == [-100] and later.trusted(121).notes == {"a": 1}
    later.write()
    assert store.steps() == [50, 100] and load_checkpoint(tmp_path / "100").arrays["w"] == [-100]

import pytest

from kseparation.training.snapshots import Snapshots


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

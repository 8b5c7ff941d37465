import pytest

from kseparation.config.places import Place, Problems, join_key
from kseparation.errors import UserError


def test_join_key_skips_the_empty_root() -> None:
    assert join_key("", "loss", 0, "weight") == "loss.0.weight"


def test_an_absent_key_is_placed_at_its_parent() -> None:
    place = Place("", {"training": "run.yaml:4"}).below("training", "epochs")
    assert str(place) == "run.yaml:4: `training.epochs`"


def test_a_key_written_nowhere_has_the_default_source() -> None:
    assert str(Place("model", {}, "run.yaml")) == "run.yaml: `model`"
    assert str(Place()) == "the config"


def test_problems_are_raised_together_and_once_each() -> None:
    problems = Problems()
    problems.raise_if_any()
    problems.add("`a`", "is bad.")
    problems.add("`a`", "is bad.")
    problems.add("`b`", "is bad.")
    assert len(problems) == 2
    with pytest.raises(UserError, match=r"^2 problems:\n  `a` is bad.\n  `b` is bad.$"):
        problems.raise_if_any()

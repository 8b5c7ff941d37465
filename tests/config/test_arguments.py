from typing import Literal

import pytest

from kseparation.config.arguments import check_arguments
from kseparation.config.places import Place, Problems
from kseparation.errors import UserError


class Net:
    def __init__(
        self,
        stems: tuple[str, ...],
        width: int,
        dropout: float = 0.0,
        windows: tuple[int, ...] = (1, 2),
        mode: "Literal['real', 'complex']" = "real",
        root: str | None = None,
        extra=None,
        **kwargs: object,
    ) -> None:
        self.width = width


def test_values_take_the_type_of_the_annotation() -> None:
    checked = check_arguments(
        Net, {"width": 3, "dropout": 1, "windows": [4, 8], "extra": [1]}, "`model`", provided=["stems"]
    )
    assert checked == {"width": 3, "dropout": 1.0, "windows": (4, 8), "extra": [1]}
    assert isinstance(checked["dropout"], float)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": True}, "`model` `width` must be a whole number. Received: true"),
        ({"width": "3"}, "`model` `width` must be a whole number. Received: '3'"),
        ({"width": 3.5}, "`model` `width` must be a whole number. Received: 3.5"),
        ({"width": 1, "windows": [1, "b"]}, "`windows` `1` must be a whole number. Received: 'b'"),
        ({"width": 1, "mode": "reel"}, "must be 'real' or 'complex'. Received: 'reel'. Did you mean `real`?"),
        ({"width": 1, "dropuot": 1}, "`model` `dropuot` is not an argument of `Net`. Did you mean `dropout`?"),
        ({"width": 1, "kwargs": 1}, "`model` `kwargs` is not an argument of `Net`."),
        ({"width": 1, "stems": ["a"]}, "`model` `stems` is set by the run itself. Remove it."),
        ({}, "`model` lacks `width`, which `Net` requires."),
    ],
)
def test_what_does_not_fit_the_signature_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(UserError) as error:
        check_arguments(Net, arguments, "`model`", provided=["stems"])
    assert words in str(error.value)


def test_problems_of_several_components_are_collected_with_their_lines() -> None:
    problems = Problems()
    sources = {"model": "run.yaml:3", "model.width": "run.yaml:4"}
    check_arguments(Net, {"width": "x"}, Place("model", sources), ["stems"], problems)
    check_arguments(Net, {"width": 1, "depth": 1}, Place("model", sources), ["stems"], problems)
    with pytest.raises(UserError) as error:
        problems.raise_if_any()
    assert "run.yaml:4: `model.width` must be a whole number. Received: 'x'" in str(error.value)
    assert "run.yaml:3: `model.depth` is not an argument of `Net`." in str(error.value)


def test_a_misspelt_key_of_the_record_itself_is_recognised() -> None:
    place = Place("data", {"data.sample_rat": "run.yaml:2"}, known_keys=("name", "sample_rate"))
    with pytest.raises(UserError, match="run.yaml:2: `data.sample_rat` is not an argument.*Did you mean `sample_rate`"):
        check_arguments(Net, {"sample_rat": 8000, "width": 1}, place, ["stems"])

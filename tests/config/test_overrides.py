from pathlib import Path

import pytest

from kseparation.config.loading import load_config
from kseparation.config.records import RunConfig
from kseparation.errors import UserError


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("")
    return path


def test_values_follow_the_rules_of_the_file(empty: Path) -> None:
    config = load_config(
        empty, ["training.optimizer.learning_rate=1e-3", "logging.wandb=off", "data.root=", "seed=5", "seed=6"]
    )
    assert config.training.optimizer.learning_rate == 1e-3
    assert config.logging.wandb == "off"
    assert config.data.root is None
    assert config.seed == 6


def test_list_items_go_by_index(empty: Path) -> None:
    config = load_config(empty, ["loss.0.weight=3", "augment.1.probability=1"])
    assert config.loss[0].weight == 3.0
    assert config.loss[1:] == RunConfig().loss[1:]
    assert config.augment[1].arguments == {"probability": 1}


def test_an_argument_is_added_to_a_default_component(empty: Path) -> None:
    config = load_config(empty, ["model.dropout=0.1"])
    assert config.model.arguments == {"preset": "demo", "dropout": 0.1}
    assert str(config.model.place.below("dropout")) == "--set model.dropout=0.1: `model.dropout`"


def test_a_whole_list_is_replaced(empty: Path) -> None:
    config = load_config(empty, ["loss=[{name: mse, weight: 2}]", "augment=[]"])
    assert [(item.name, item.weight) for item in config.loss] == [("mse", 2.0)]
    assert config.augment == ()


def test_an_override_replaces_what_the_file_has_wrong(empty: Path) -> None:
    empty.write_text("training: {epochs: many}")
    assert load_config(empty, ["training.epochs=2"]).training.epochs == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs", "--set training.epochs must have the form `a.b=value`."),
        ("=3", "--set =3 must have the form `a.b=value`."),
        ("a..b=3", "--set a..b=3 must have the form `a.b=value`."),
        ("loss.5.weight=3", "`loss.5` must be an index of a list of 2, counted from 0. Received: 5"),
        ("loss.first.weight=3", "`loss.first` must be an index of a list of 2, counted from 0. Received: first"),
        ("data.name.x=3", "`data.name.x` does not exist: `data.name` is a value, not a mapping. Received: 'builtin'"),
        ("model.a=[", "--set model.a=[: not valid YAML: "),
        ("model.a=!!python/tuple [1]", "the tag `tag:yaml.org,2002:python/tuple` is not allowed"),
        (
            "training.optimizr.name=x",
            "--set training.optimizr.name=x: `training.optimizr` is not a known key. Did you mean `optimizer`",
        ),
        ("training.lerning_rate=1", "`training.lerning_rate` is not a known key. Did you mean `training.optimizer.learning_rate`?"),
        ("steps_per_epoch=1", "`steps_per_epoch` is not a known key. Did you mean `training.steps_per_epoch`?"),
        ("training.epochs=2.5", "--set training.epochs=2.5: `training.epochs` must be a whole number. Received: 2.5"),
        ("training.epochs=.inf", "`training.epochs` must be a finite number. Received: .inf"),
    ],
)
def test_what_is_wrong_names_the_flag(empty: Path, override: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(empty, [override])
    assert words in str(error.value)


def test_an_item_of_an_empty_list_is_told_how_to_be_given(empty: Path) -> None:
    with pytest.raises(UserError) as error:
        load_config(empty, ["augment=[]", "augment.0.low=3"])
    assert "`augment.0` must be an index of a list that is not empty; give it whole: --set=augment=[...]. Received: 0" in str(error.value)

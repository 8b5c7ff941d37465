from pathlib import Path

import pytest

from kseparation.config import RunConfig, load_config
from kseparation.training.safe_ladder import safe_ladder

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = CONFIGS / "separation" / "moises_light_small.yaml"


def test_the_rungs_are_climbed_one_after_the_other() -> None:
    """Each rung's settings take it off the ladder, and no other."""
    taken, words = [], []
    while rungs := safe_ladder(config := load_config(SMALL, ["training.dtype_policy=mixed_float16", "model.dropout=0.1", *taken]), config.model.arguments["dropout"]):
        words.append(rungs[0].words)
        taken += rungs[0].overrides
    assert words == [
        "half the learning rate, on half the batch with twice the accumulation",
        "a warm-up of 1000 steps, and gradients clipped to a norm of 0.5",
        "float32 throughout",
        "the waveform L1 loss alone",
        "dropout 0.05",
    ]
    before, after = load_config(SMALL), config
    assert after.training.optimizer.learning_rate == before.training.optimizer.learning_rate / 2
    assert after.training.batch_size * after.training.accumulate_steps == before.training.batch_size
    assert [loss.name for loss in after.loss] == ["waveform_l1"] and after.model.arguments["dropout"] == 0.05


def test_a_batch_of_one_cannot_be_halved() -> None:
    config = load_config(SMALL, ["training.batch_size=1"])
    assert not any("batch_size" in override for override in safe_ladder(config)[0].overrides)


def test_an_objective_of_the_model_itself_is_left() -> None:
    config = RunConfig.model_validate({"loss": []})
    assert "the waveform L1 loss alone" not in [rung.words for rung in safe_ladder(config)]


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*_safe.yaml")), ids=lambda file: file.stem)
def test_the_safe_configs_have_taken_every_rung(file: Path) -> None:
    config = load_config(file)
    assert safe_ladder(config, config.model.arguments.get("dropout", 0.0)) == []
    # Those that they are the safe form of have rungs left.
    assert safe_ladder(load_config(file.with_name(file.name.replace("_safe", "")))) != []

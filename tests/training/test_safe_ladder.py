from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseparation.config import RunConfig, load_config
from kseparation.training.safe_ladder import safe_ladder

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = CONFIGS / "separation" / "moises_light_small.yaml"


def test_the_rungs_are_climbed_one_after_the_other() -> None:
    """Each rung's settings take it off the ladder, and no other."""
    words, after = climbed(SMALL, ["training.dtype_policy=mixed_float16", "model.dropout=0.1"], 5)
    assert words == [
        "half the learning rate, on half the batch with twice the accumulation",
        "a warm-up of 1000 steps, and gradients clipped to a norm of 0.5",
        "float32 throughout",
        "the waveform L1 loss alone",
        "dropout 0.05",
    ]
    before = load_config(SMALL)
    assert after.training.optimizer.learning_rate == before.training.optimizer.learning_rate / 2
    assert after.training.batch_size * after.training.accumulate_steps == before.training.batch_size
    assert [loss.name for loss in after.loss] == ["waveform_l1"] and after.model.arguments["dropout"] == 0.05


def test_a_batch_of_one_cannot_be_halved() -> None:
    config = load_config(SMALL, ["training.batch_size=1"])
    rung = safe_ladder(config)[0]
    assert rung.words == "half the learning rate, with twice the accumulation"
    assert rung.overrides == ("training.optimizer.learning_rate=0.00025", "training.accumulate_steps=2")


def climbed(file: Path, overrides: list[str], most: int) -> tuple[list[str], RunConfig]:
    """The words of the rungs, each the first of its ladder, and the config at the end."""
    taken, words = list(overrides), []
    while True:
        config = load_config(file, taken)
        rungs = safe_ladder(config, config.model.arguments.get("dropout", 0.0))
        if not rungs:
            return words, config
        words.append(rungs[0].words)
        taken += rungs[0].overrides
        assert len(words) <= most, words


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_ladder_ends(file: Path) -> None:
    words, _ = climbed(file, [], 10)
    assert bool(words) != file.stem.endswith("_safe")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["adamw", "adam", "sgd", "lion"]),
    st.floats(1e-7, 1e3),
    st.integers(1, 33),
    st.integers(1, 9),
    st.sampled_from(["null", "0.3", "1.0"]),
    st.sampled_from([0, 1000, 5000]),
    st.sampled_from(["waveform_l1", "multi_resolution_stft"]),
)
def test_every_ladder_ends_whatever_the_config(name, rate, batch, accumulate, clip, warmup, loss) -> None:
    changes = {"optimizer.name": name, "optimizer.learning_rate": rate, "batch_size": batch, "accumulate_steps": accumulate, "clip_norm": clip, "warmup_steps": warmup}
    words, config = climbed(SMALL, [*(f"training.{key}={value}" for key, value in changes.items()), f"loss=[{{name: {loss}}}]"], 40)
    training = config.training
    assert training.accumulate_steps >= 2 and training.warmup_steps >= 1000 and training.clip_norm <= 0.5
    assert training.batch_size * training.accumulate_steps <= max(batch, 2) * accumulate  # a step is made of no more examples than before


def test_a_config_that_accumulates_has_the_first_rung_too() -> None:
    rung = safe_ladder(load_config(SMALL, ["training.accumulate_steps=4"]))[0]
    assert rung.words == "half the learning rate, on half the batch with twice the accumulation"
    assert rung.overrides == ("training.optimizer.learning_rate=0.00025", "training.batch_size=4", "training.accumulate_steps=8")
    alone = safe_ladder(load_config(SMALL, ["training.accumulate_steps=4", "training.batch_size=1"]))[0]
    assert (alone.words, alone.overrides) == ("half the learning rate", ("training.optimizer.learning_rate=0.00025",))


@pytest.mark.parametrize(("losses", "offered"), [("waveform_l1", False), ("multi_resolution_stft", True)])
def test_waveform_l1_alone_is_offered_for_another_loss_alone(losses: str, offered: bool) -> None:
    rungs = safe_ladder(load_config(SMALL, [f"loss=[{{name: {losses}}}]"]))
    assert ("the waveform L1 loss alone" in [rung.words for rung in rungs]) == offered


def test_an_objective_of_the_model_itself_is_left() -> None:
    config = RunConfig.model_validate({"loss": []})
    assert "the waveform L1 loss alone" not in [rung.words for rung in safe_ladder(config)]


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*_safe.yaml")), ids=lambda file: file.stem)
def test_the_safe_configs_have_taken_every_rung(file: Path) -> None:
    config = load_config(file)
    assert safe_ladder(config, config.model.arguments.get("dropout", 0.0)) == []
    # Those that they are the safe form of have rungs left.
    assert safe_ladder(load_config(file.with_name(file.name.replace("_safe", "")))) != []

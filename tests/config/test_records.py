import pytest
from pydantic import ValidationError

from kseparation.config.places import Place
from kseparation.config.records import ComponentConfig, DataConfig, EvaluationConfig, RunConfig, TrainingConfig


def test_defaults_are_those_of_the_documented_table() -> None:
    config = RunConfig()
    assert (config.task, config.seed, config.reproduce_failure) == ("separation", 0, False)
    assert config.data.stems == ("vocals", "drums", "bass", "other")
    assert (config.data.sample_rate, config.data.segment_seconds, config.data.validation_split) == (44100, 3.0, 0.1)
    assert [item.name for item in config.augment] == ["gain", "remix"]
    assert config.model == ComponentConfig(name="moises_light", arguments={"preset": "demo"})
    assert [(item.name, item.weight) for item in config.loss] == [
        ("waveform_l1", 10.0),
        ("multi_resolution_complex_stft", 1.0),
    ]
    assert (config.training.optimizer.learning_rate, config.training.optimizer.weight_decay) == (5e-4, 1e-4)
    assert (config.logging.wandb, config.evaluation.overlap) == ("off", 0.5)


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().seed = 1


def test_place_and_source_are_no_part_of_equality() -> None:
    here = ComponentConfig(name="gain", place=Place("augment.0", {}, "a.yaml"))
    assert here == ComponentConfig(name="gain")
    assert here != ComponentConfig(name="remix")
    assert RunConfig(source="a.yaml") == RunConfig()


@pytest.mark.parametrize(
    ("record", "key", "value"),
    [
        (RunConfig, "seed", -1),
        (RunConfig, "seed", 2**32),
        (RunConfig, "seed", True),
        (RunConfig, "task", "singing"),
        (DataConfig, "stems", ()),
        (DataConfig, "stems", ("a/b",)),
        (DataConfig, "stems", ("..",)),
        (DataConfig, "stems", ("a" * 65,)),
        (DataConfig, "stems", ("a\n",)),
        (DataConfig, "stems", ("mixture", "vocals")),
        (DataConfig, "overlap", 1.0),
        (DataConfig, "overlap", -0.1),
        (DataConfig, "channels", 0),
        (DataConfig, "sample_rate", 44100.0),
        (DataConfig, "segment_seconds", 0.0),
        (DataConfig, "root", ""),
        (DataConfig, "workers", -1),
        (TrainingConfig, "ema", 1.0),
        (TrainingConfig, "ema", float("nan")),
        (TrainingConfig, "clip_norm", 0.0),
        (TrainingConfig, "clip_norm", "1.0"),
        (TrainingConfig, "jit_compile", 1),
        (TrainingConfig, "jit_compile", "yes"),
        (TrainingConfig, "dtype_policy", "float64"),
        (TrainingConfig, "keep_every_epochs", 0),
        (TrainingConfig, "rematerialise", 0),
        (EvaluationConfig, "metrics", ("sdr", "sdr")),
        (EvaluationConfig, "metrics", ()),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(record: type, key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        record(**{key: value})


def test_a_segment_holds_at_least_one_sample() -> None:
    with pytest.raises(ValidationError, match="segments of at least one sample"):
        DataConfig(segment_seconds=1e-6)


@pytest.mark.parametrize("value", [True, False, "auto"])
def test_jit_compile_is_true_false_or_auto(value: object) -> None:
    assert TrainingConfig(jit_compile=value).jit_compile is value


def test_a_whole_number_is_a_float_and_a_list_a_tuple() -> None:
    config = DataConfig(segment_seconds=2, stems=["vocals", "rest"])
    assert isinstance(config.segment_seconds, float)
    assert config.stems == ("vocals", "rest")

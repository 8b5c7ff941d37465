from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseparation.config.loading import dump_config, load_config
from kseparation.config.records import (
    ComponentConfig,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)
from kseparation.errors import UserError

NAMES = st.text(min_size=1, max_size=8)
KEYS = NAMES.filter(
    lambda key: key not in {"place", "source", *OptimizerConfig.model_fields, *DataConfig.model_fields, *LossConfig.model_fields}
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
ARGUMENTS = st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3), max_size=3)
COMPONENTS = st.builds(ComponentConfig, name=NAMES, arguments=ARGUMENTS)
POSITIVE = st.floats(1e-9, 1e9)
CONFIGS = st.builds(
    RunConfig,
    seed=st.integers(0, 2**32 - 1),
    data=st.builds(
        DataConfig,
        name=NAMES,
        arguments=ARGUMENTS,
        root=st.none() | NAMES,
        stems=st.lists(st.sampled_from(["vocals", "drums", "a-b", "0x1", "1e3", "on"]), min_size=1, unique=True),
        segment_seconds=st.floats(0.1, 100),
    ),
    augment=st.lists(COMPONENTS, max_size=2),
    model=COMPONENTS,
    loss=st.lists(
        st.builds(LossConfig, name=NAMES, arguments=ARGUMENTS, weight=st.just(0.0) | POSITIVE), min_size=1, max_size=2
    ),
    training=st.builds(
        TrainingConfig,
        optimizer=st.builds(OptimizerConfig, name=NAMES, arguments=ARGUMENTS, learning_rate=POSITIVE),
        clip_norm=st.none() | POSITIVE,
        jit_compile=st.sampled_from([True, False, "auto"]),
        early_stopping_patience=st.none() | st.integers(1, 5),
        keep_every_epochs=st.none() | st.integers(1, 5),
    ),
    evaluation=st.builds(EvaluationConfig, metrics=st.sampled_from([("sdr",), ("si_sdr", "sdr")])),
    reproduce_failure=st.booleans(),
)


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load_config(path, overrides)
    return [line.strip().replace(f"{path}:", "run.yaml:") for line in str(error.value).splitlines()]


@given(CONFIGS)
def test_a_dumped_config_loads_back_equal(tmp_path_factory: pytest.TempPathFactory, config: RunConfig) -> None:
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config


def test_the_dump_names_every_key() -> None:
    text = dump_config(RunConfig())
    assert "accumulate_steps: 1\n" in text
    assert "- name: gain\n  low: 0.7\n" in text
    assert "place" not in text


def test_an_empty_file_is_the_default_run(write) -> None:
    assert load_config(write("# nothing\n")) == RunConfig()


def test_components_keep_arguments_place_and_weight(write) -> None:
    path = write(
        "data: {name: builtin, songs: 3, sample_rate: 8000}\n"
        "model:\n  name: net\n  width: 1e1\nloss:\n- {name: a, weight: 2}\n"
        "training: {optimizer: {name: sgd, momentum: 0.9, learning_rate: 1e-3}}\n"
    )
    config = load_config(path)
    assert config.data.arguments == {"songs": 3}
    assert config.model.arguments == {"width": 10.0}
    assert str(config.model.place.below("width")) == f"{path}:4: `model.width`"
    assert config.loss == (LossConfig(name="a", weight=2.0),)
    assert config.training.optimizer.arguments == {"momentum": 0.9}
    assert config.training.optimizer.learning_rate == 1e-3
    assert config.source == str(path)


def test_every_problem_is_reported_at_once(write) -> None:
    path = write(
        "sed: 1\nseed: yes\nmodel: {preset: demo}\nloss:\n- {name: a, weight: '1e-3'}\n- 3\n"
        "training:\n  batch_sise: 3\n  epochs: 1e2\n  schedule: cosin\n  ema: .nan\nlogging: 5\n"
    )
    lines = problems(path, "training.batch_size=0", "evaluation.metrics=[sdr,sd]", "data.overlap=1")
    keys = ", ".join(f"`{key}`" for key in TrainingConfig.model_fields)
    assert lines[0] == "13 problems:"
    expected = [
        "run.yaml:1: `sed` is not a known key. Did you mean `seed`? Valid: `task`, `seed`, `data`, `augment`, `model`, "
        "`loss`, `training`, `safety`, `inject`, `logging`, `evaluation`, `reproduce_failure`.",
        "run.yaml:2: `seed` must be a whole number. Received: 'yes'",
        "run.yaml:3: `model.name` is required.",
        "run.yaml:5: `loss.0.weight` must be a number. Received: '1e-3'",
        "run.yaml:6: `loss.1` must be a mapping of keys to values. Received: 3",
        f"run.yaml:8: `training.batch_sise` is not a known key. Did you mean `batch_size`? Valid: {keys}.",
        "run.yaml:9: `training.epochs` must be a whole number. Received: 100.0",
        "run.yaml:10: `training.schedule` must be 'cosine', 'linear_tail' or 'constant'. Received: 'cosin'. Did you mean `cosine`? "
        "Valid: `cosine`, `linear_tail`, `constant`.",
        "run.yaml:11: `training.ema` must be a finite number. Received: .nan",
        "run.yaml:12: `logging` must be a mapping of keys to values. Received: 5",
        "--set training.batch_size=0: `training.batch_size` must be greater than or equal to 1. Received: 0",
        "--set evaluation.metrics=[sdr,sd]: `evaluation.metrics.1` must be 'sdr', 'si_sdr' or 'bss_eval'. "
        "Received: 'sd'. Did you mean `sdr`? Valid: `sdr`, `si_sdr`, `bss_eval`.",
        "--set data.overlap=1: `data.overlap` must be less than 1. Received: 1",
    ]
    assert sorted(lines[1:]) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data: {stems: []}", "run.yaml:1: `data.stems` must not be empty. Received: []"),
        ("loss: [{name: a, start_step: -1}]", "run.yaml:1: `loss.0.start_step` must be greater than or equal to 0. Received: -1"),
        ("augment: {name: gain}", "run.yaml:1: `augment` must be a list. Received: {'name': 'gain'}"),
        ("data: {stems: [a, a]}", "run.yaml:1: `data.stems` must not name anything twice; twice: `a`."),
        (
            "data: {stems: [../x]}",
            "run.yaml:1: `data.stems.0` must be letters, digits, `_` and `-`, and "
            "begin with a letter or a digit. Received: '../x'",
        ),
        ("training: {clip_norm: true}", "run.yaml:1: `training.clip_norm` must be a number. Received: true"),
        ("model: null", "run.yaml:1: `model` must be a mapping of keys to values. Received: null"),
        ("reproduce_failure: 1", "run.yaml:1: `reproduce_failure` must be true or false. Received: 1"),
    ],
)
def test_wording(write, text: str, line: str) -> None:
    assert problems(write(text)) == [line]


def test_source_is_not_a_key(write) -> None:
    assert problems(write("source: x"))[0].startswith("run.yaml:1: `source` is not a known key.")


def test_a_list_is_not_a_config(write) -> None:
    with pytest.raises(UserError, match="must be a mapping of keys to values. Received: \\[1\\]"):
        load_config(write("[1]"))


def test_a_missing_file_names_its_neighbour(write) -> None:
    path = write("")
    with pytest.raises(UserError, match="does not exist. Did you mean `run.yaml`"):
        load_config(path.with_name("rum.yaml"))
    with pytest.raises(UserError, match="does not exist.$"):
        load_config(path.parent / "nowhere" / "rum.yaml")


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a readable file: Is a directory"):
        load_config(tmp_path)


def test_a_config_is_utf8(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"model: {name: \xff}")
    with pytest.raises(UserError, match="must be UTF-8 text. Received: byte 0xff at offset 14"):
        load_config(path)
    path.write_bytes(b"\xef\xbb\xbfseed: 3\n")
    assert load_config(path).seed == 3


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(UserError, match="too large for a config"):
        load_config("/dev/zero")

import warnings
from pathlib import Path

import keras
import pytest

from kseparation.config import load_config
from kseparation.data import AUGMENTATIONS
from kseparation.errors import UserError
from kseparation.models import MODELS
from kseparation.training import FixedNorm
from kseparation.workflows import build
from kseparation.workflows.tasks import task_of
from tests.tiny_run import tiny_config


def loaded(tmp_path: Path, text: str):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return load_config(file)


CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_that_comes_along_is_sound(file: Path) -> None:
    config = load_config(file)
    build.check_components(config)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        own_parts = build.build_model(task_of(config)).objective_names()
    assert bool(said) == config.reproduce_failure
    assert (build.build_objective(task_of(config), own_parts) is None) == (not config.loss)
    assert len(task_of(config).changes) == len(config.augment)
    assert build.build_optimizer(config).averaging == config.training.ema
    assert config.model.arguments.get("preset") in (None, *MODELS[config.model.name].presets())


def test_a_sound_config_passes(tmp_path: Path) -> None:
    build.check_components(tiny_config(tmp_path))


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "data: {name: bultin}\n"
        "augment: [{name: gian}, {name: gain, lo: 0.5}]\n"
        "model: {name: moises_light, width: wide, stems: [a]}\n"
        "loss: [{name: waveform_l2}]\n"
        "training: {optimizer: {name: adamww}}\n",
    )
    with pytest.raises(UserError) as error:
        build.check_components(config)
    lines = str(error.value).splitlines()
    assert lines[0] == "7 problems:"
    expected = [
        ("run.yaml:1: `data.name`", "is no data set. Received: bultin. Did you mean `builtin`?"),
        ("run.yaml:2: `augment.0.name`", "is no augmentation. Received: gian. Did you mean `gain`?"),
        ("run.yaml:2: `augment.1.lo`", "is not an argument of `Gain`. Did you mean `low`?"),
        ("run.yaml:4: `loss.0.name`", "is no loss. Received: waveform_l2. Did you mean `waveform_l1`?"),
        ("run.yaml:3: `model.width`", "wide"),
        ("run.yaml:3: `model.stems`", "is set by the run itself. Remove it."),
        ("run.yaml:5: `training.optimizer.name`", "is no optimizer. Received: adamww. Did you mean `adamw`?"),
    ]
    for (place, words), line in zip(expected, lines[1:], strict=True):
        assert place in line and words in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training: {rematerialise: true}", "`training.rematerialise` is not available yet. Received: True. Remove it, or set it to false."),
        ("logging: {wandb: offline}", "`logging.wandb` is not available yet. Received: offline. Remove it, or set it to off."),
        ("training: {optimizer: {clipnorm: 1.0}}", "`training.optimizer.clipnorm` is not an argument of `adamw`"),
        ("training: {optimizer: {loss_scale_factor: 8}}", "`training.optimizer.loss_scale_factor` is not an argument of `adamw`"),
        ("loss: [{name: multi_resolution_complex_stft, preset: [bsmamba2]}]", "`loss.0.preset` must be a name. Received: ['bsmamba2']"),
        ("loss: [{name: negative_binomial}]", "`loss.0.name` is no loss of the task `separation`. Received: negative_binomial. Valid: `waveform_l1`,"),
        ("training: {optimizer: {beta_1: abc}}", "`training.optimizer.beta_1` must be a number"),
    ],
)
def test_keys_that_would_have_no_effect_or_a_wrong_one_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        build.check_components(loaded(tmp_path, text))
    assert words in str(error.value) and "run.yaml" in str(error.value)


def test_a_data_set_on_the_disk_needs_its_root(tmp_path: Path) -> None:
    config = loaded(tmp_path, "data: {name: track_folder}")
    with pytest.raises(UserError, match="`data.root` is required for the data set `track_folder`. Received: null. Give its file or folder"):
        task_of(config).open()


def test_the_model_takes_stems_rate_and_length_from_the_data(tmp_path: Path) -> None:
    model = build.build_model(task_of(tiny_config(tmp_path)))
    assert (model.stems, model.sample_rate, model.channels, model.segment_samples) == (("vocals", "drums"), 8000, 2, 800)
    assert model.built and model.width == 8


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.width=7", "`model`: `bands` must divide `bins` and `width`"),
        ("model.preset=dmeo", "`preset` is unknown. Received: preset=dmeo. Did you mean `demo`?"),
    ],
)
def test_what_the_model_refuses_is_the_users_mistake(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        build.build_model(task_of(tiny_config(tmp_path, [override])))
    assert words in str(error.value) and "tiny.yaml" in str(error.value)


def test_losses_are_weighted_and_named(tmp_path: Path) -> None:
    objective = build.build_objective(task_of(tiny_config(tmp_path)))
    assert objective.weights == {"waveform_l1": 10.0, "multi_resolution_complex_stft": 1.0}
    assert objective.part_names() == ["waveform_l1", "multi_resolution_complex_stft/256", "multi_resolution_complex_stft/128"]


def test_a_loss_may_begin_later_and_rise(tmp_path: Path) -> None:
    objective = build.build_objective(task_of(loaded(tmp_path, "loss: [{name: waveform_l1}, {name: magnitude_l1, weight: 2, start_step: 100, ramp_steps: 50}]")))
    assert objective.schedules == {"magnitude_l1": (100, 50)} and objective.weights == {"waveform_l1": 1.0, "magnitude_l1": 2.0}
    with pytest.raises(UserError, match="`loss`: At least one loss must count from the first step"):
        build.build_objective(task_of(loaded(tmp_path, "loss: [{name: waveform_l1, start_step: 5}]")))
    for later in ("start_step: 5", "weight: 0"):  # the model's own objective trains until then
        assert build.build_objective(task_of(loaded(tmp_path, f"loss: [{{name: waveform_l1, {later}}}]")), ["magnitude/vocals"]).part_names() == ["waveform_l1"]


def test_a_config_without_losses_needs_a_model_with_an_objective(tmp_path: Path) -> None:
    config = loaded(tmp_path, "loss: []")
    assert build.build_objective(task_of(config), ["magnitude/vocals"]) is None
    with pytest.raises(UserError, match="`loss` is empty, and the model `moises_light` has no objective of its own"):
        build.build_objective(task_of(config))


MISMATCH = "model: {name: mask_unet, preset: small, objective: ratio_mask, domain: log, target_domain: linear}\nloss: []\n"


def test_domains_that_differ_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        build.build_model(task_of(loaded(tmp_path, MISMATCH)))
    assert "run.yaml:1: `model.target_domain` is known to break a training: the network sees log magnitudes and is compared with linear ones" in str(error.value)
    with pytest.warns(UserWarning, match="It runs because `reproduce_failure` is true"):
        build.build_model(task_of(loaded(tmp_path, MISMATCH + "reproduce_failure: true")))


def test_a_loss_is_built_from_its_preset(tmp_path: Path) -> None:
    text = "loss: [{name: multi_resolution_complex_stft, preset: multi_resolution_mae, hop_samples: 256, weight: 2}]"
    config = loaded(tmp_path, text)
    build.check_components(config)
    objective = build.build_objective(task_of(config))
    (loss,) = objective.losses.values()
    assert (loss.distance, loss.windows, loss.hop_samples) == ("parts", (6144, 4096, 3072), 256)
    with pytest.raises(UserError, match="`loss.0`: `preset` is unknown. Received: preset=mae. Valid: `bsmamba2`"):
        build.build_objective(task_of(loaded(tmp_path, "loss: [{name: multi_resolution_complex_stft, preset: mae}]")))


def test_losses_of_one_name_and_wrong_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`loss.1.name`: two losses have the same name in the log. Received: waveform_l1. Keep one"):
        build.build_objective(task_of(loaded(tmp_path, "loss: [{name: waveform_l1}, {name: waveform_l1}]")))
    with pytest.raises(UserError, match="`loss.0`: `windows` needs at least one window length"):
        build.build_objective(task_of(loaded(tmp_path, "loss: [{name: multi_resolution_complex_stft, windows: []}]")))


def test_augmentations_keep_their_order(tmp_path: Path) -> None:
    config = loaded(tmp_path, "augment: [{name: polarity, probability: 0.25}, {name: gain, low: 0.5, high: 2.0}]")
    first, second = task_of(config).changes
    assert isinstance(first, AUGMENTATIONS["polarity"]) and first.probability == 0.25
    assert isinstance(second, AUGMENTATIONS["gain"]) and (second.low, second.high) == (0.5, 2.0)


@pytest.mark.parametrize("name", build.OPTIMIZERS)
def test_the_optimizer_is_guarded(tmp_path: Path, name: str) -> None:
    config = tiny_config(
        tmp_path, [f"training.optimizer.name={name}", "training.dtype_policy=mixed_float16", "training.accumulate_steps=3", "training.clip_norm=0.7"]
    )
    optimizer = build.build_optimizer(config)
    assert type(optimizer.inner_optimizer).__name__.lower() == name
    assert optimizer.inner_optimizer.weight_decay == 1e-4
    assert isinstance(optimizer.clipping, FixedNorm) and optimizer.clipping.norm == 0.7
    assert (optimizer.accumulate_steps, optimizer.averaging, optimizer.loss_scaling) == (3, 0.9, True)
    assert float(optimizer.learning_rate) == pytest.approx(5e-4 / 2)
    assert build.build_optimizer(tiny_config(tmp_path, ["training.clip_norm=null"])).clipping is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.optimizer.beta_1=1.0", "`beta_1` must lie between 0 and below 1. Received: beta_1=1.0"),
        ("training.optimizer.epsilon=0.0", "`epsilon` must be above 0"),
        ("training.optimizer={name: sgd, momentum: -0.5}", "`momentum` must lie between 0 and below 1"),
        ("augment=[{name: remix, probability: 2.0}]", "`augment.0`: `probability` must lie between 0 and 1"),
        ("loss.1.windows=[4096]", "`loss.1` needs segments of 1024 samples or more. Received: 800 samples"),
        ("loss.1={name: multi_resolution_complex_stft, windows: [256], minimum_fft_size: 801, center: false}", "`loss.1` needs segments of 801 samples or more"),
        ("loss=[{name: waveform_l1, weight: 0}]", "`loss`: At least one loss needs a weight above 0"),
    ],
)
def test_what_a_part_refuses_is_the_users_mistake(tmp_path: Path, override: str, words: str) -> None:
    config = tiny_config(tmp_path, [override])
    build.check_components(config)
    with pytest.raises(UserError) as error:
        build.build_optimizer(config), task_of(config).require_possible(), build.build_objective(task_of(config))
    assert words in str(error.value)


def test_segments_are_rounded_to_samples(tmp_path: Path) -> None:
    assert task_of(loaded(tmp_path, "data: {name: builtin, segment_seconds: 0.10001, sample_rate: 44100}")).segment_samples == 4410
    assert keras.config.dtype_policy().name == "float32"

"""Configs that must not train, each through the command `train`: what it says, exit code 2, and nothing written.

The rows follow a catalogue, C1 to C16. A training reads whatever folder its user names (C10), clips in one way of its own (C14), and its configs carry no number of a version (C15):
what it does not know it refuses by name.
"""

from pathlib import Path

import pytest

from kseparation.cli.main import main
from kseparation.config import load_config
from kseparation.models import load_model
from kseparation.workflows.tasks import task_of
from tests.tiny_run import write_config

# How a config is spoilt: by `--set`, by a line in front of a sound one, by one behind it, or by another text.
SET, BEFORE, BEHIND, INSTEAD = "set", "{text}\n{config}", "{config}{text}\n", "{text}"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi"))
HOP = "`hop_samples` must lie between 1 and half of `window_samples`"
# What is said of each.
CASES = {
    "c01_no_yaml": (INSTEAD, "model: {name: [}", ["tiny.yaml:1", "not valid YAML"]),
    "c01_tab": (BEHIND, "logging:\n\ttensorboard: false", ["tiny.yaml:", "tab"]),
    "c02_key_of_training": (SET, "training.batch_sise=4", ["`training.batch_sise` is not a known key. Did you mean `batch_size`?"]),
    "c02_key_of_model": (SET, "model.widht=8", ["`model.widht`", "Did you mean `width`?"]),
    "c03_text_for_a_number": (SET, "training.optimizer.learning_rate='1e-3'", ["`training.optimizer.learning_rate` must be a number. Received: '1e-3'"]),
    "c03_true_for_a_number": (SET, "training.batch_size=true", ["`training.batch_size` must be a whole number. Received: true"]),
    "c04_rate_is_nan": (SET, "training.optimizer.learning_rate=.nan", ["`training.optimizer.learning_rate` must be a finite number. Received: .nan"]),
    "c04_rate_is_infinite": (SET, "training.optimizer.learning_rate=.inf", ["`training.optimizer.learning_rate` must be a finite number. Received: .inf"]),
    "c04_rate_is_negative": (SET, "training.optimizer.learning_rate=-1e-3", ["`training.optimizer.learning_rate` must be greater than 0. Received: -0.001"]),
    "c05_hop_above_window": (SET, "model.hop_samples=1024", [HOP, "hop_samples=1024, window_samples=512"]),
    "c05_hop_without_overlap_add": (SET, "model.hop_samples=300", [HOP, "hop_samples=300, window_samples=512"]),
    "c05_no_window": (SET, "model.window_samples=0", ["`window_samples` must be at least 1. Received: window_samples=0"]),
    "c06_no_batch": (SET, "training.batch_size=0", ["`training.batch_size` must be greater than or equal to 1. Received: 0"]),
    "c06_batch_beyond_all_memory": (SET, "training.batch_size=1000000000", ["`training.batch_size`", "takes at least", "this machine has", "Received: 1000000000"]),
    "c07_key_twice": (BEHIND, "seed: 1\nseed: 2", ["`seed` is given twice"]),
    "c08_tag_of_python": (
        BEHIND,
        "seed: !!python/object/apply:os.system [touch here]",
        ["the tag `tag:yaml.org,2002:python/object/apply:os.system` is not allowed: plain values only"],
    ),
    "c09_alias_bomb": (INSTEAD, BOMB, ["alias"]),
    "c10_a_folder_without_songs": (SET, "data.root=/etc", ["/etc", "train"]),
    "c10_a_folder_that_is_none": (SET, "data.root=../../../none", ["`data.root` is not a folder. Received: ../../../none"]),
    "c11_variables_stay_text": (SET, "data.root=$HOME", ["`data.root` is not a folder. Received: $HOME"]),
    "c12_no_stems": (SET, "data.stems=[]", ["`data.stems` must not be empty. Received: []"]),
    "c12_stem_twice": (SET, "data.stems=[vocals,vocals]", ["`data.stems` must not name anything twice; twice: `vocals`."]),
    "c12_unknown_stem": (SET, "data.stems=[vocals,vocal]", ["lacks the stem `vocal`"]),
    "c13_rate_of_the_model": (SET, "model.sample_rate=48000", ["`model.sample_rate` is set by the run itself. Remove it."]),
    "c14_two_ways_of_clipping": (
        SET,
        "training.optimizer={name: adamw, learning_rate: 1.0e-3, clipnorm: 1.0, clipvalue: 0.5}",
        ["2 problems:", "`training.optimizer.clipnorm` is not an argument of `adamw`", "`training.optimizer.clipvalue` is not an argument of `adamw`"],
    ),
    "c15_of_a_newer_version": (BEFORE, "schema: 9", ["tiny.yaml:1: `schema` is not a known key"]),
    "c16_import_path": (SET, "model.name=os.system", ["`model.name` is no model. Received: os.system"]),
    "c16_import_path_of_a_loss": (SET, "loss=[{name: subprocess.run}]", ["`loss.0.name` is no loss. Received: subprocess.run"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, case: str) -> None:
    how, text, words = CASES[case]
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path)
    if how != SET:
        config.write_text(how.format(text=text, config=config.read_text()))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    overrides = [f"--set={text}"] if how == SET else []
    assert main(["train", f"--config={config}", "--run_dir=run", *overrides]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert said.count("error:") == 1 and "Traceback" not in said and len(said) < 3000
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before and not (tmp_path / "run").exists()


def test_c13_songs_of_another_rate_than_the_model_are_resampled_and_not_refused(tmp_path: Path) -> None:
    """The data follow the config: songs of 8 kHz come as 6 kHz."""
    model = {"name": "mask_unet", "window_samples": 32, "hop_samples": 16, "filters": [2]}
    config = write_config(tmp_path, model, epochs=1, steps_per_epoch=1)
    assert main(["train", f"--config={config}", f"--run_dir={tmp_path / 'run'}", "--set=data.sample_rate=6000"]) == 0
    model = load_model(tmp_path / "run")
    assert model.sample_rate == 6000 and model.segment_samples == 600
    dataset = task_of(load_config(tmp_path / "run" / "config.yaml")).dataset
    assert {song.samples for song in dataset.tracks("train")} == {2250, 1875}

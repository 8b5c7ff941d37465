"""Configs that must not train, each through the command `train`: what it says, exit code 2, and nothing written.

The rows follow a catalogue, C1 to C16.
"""

from pathlib import Path

import pytest

from kseparation.cli.main import main
from tests.tiny_run import write_config

# Appended to a sound config, or given to `--set`; what is said.
CASES = {
    "c01_no_yaml": ("text", "model: {name: [}", ["not valid YAML", "tiny.yaml:"]),
    "c01_tab": ("text", "logging:\n\ttensorboard: false", ["tiny.yaml:2:"]),
    "c02_key_of_training": ("set", "training.batch_sise=4", ["`training.batch_sise` is not a known key. Did you mean `batch_size`?"]),
    "c02_key_of_model": ("set", "model.widht=8", ["`model.widht`", "Did you mean `width`?"]),
    "c03_text_for_a_number": ("set", "training.optimizer.learning_rate='1e-3'", ["`training.optimizer.learning_rate` must be a number. Received: '1e-3'"]),
    "c03_true_for_a_number": ("set", "training.batch_size=true", ["`training.batch_size` must be a whole number. Received: true"]),
    "c04_rate_is_nan": ("set", "training.optimizer.learning_rate=.nan", ["`training.optimizer.learning_rate` must be a finite number. Received: .nan"]),
    "c04_rate_is_infinite": ("set", "training.optimizer.learning_rate=.inf", ["must be a finite number. Received: .inf"]),
    "c04_rate_is_negative": ("set", "training.optimizer.learning_rate=-1e-3", ["must be greater than 0. Received: -0.001"]),
    "c05_hop_above_window": ("set", "model.hop_samples=1024", ["`hop_samples` must lie between 1 and half of `window_samples`", "hop_samples=1024"]),
    "c05_no_window": ("set", "model.window_samples=0", ["`window_samples` must be at least 1. Received: window_samples=0"]),
    "c06_no_batch": ("set", "training.batch_size=0", ["`training.batch_size` must be greater than or equal to 1. Received: 0"]),
    "c06_batch_beyond_all_memory": ("set", "training.batch_size=1000000000", ["`training.batch_size`", "takes at least", "this machine has", "Received: 1000000000"]),
    "c07_key_twice": ("text", "seed: 1\nseed: 2", ["`seed` is given twice"]),
    "c08_tag_of_python": ("text", "seed: !!python/object/apply:os.system [touch here]", ["the tag `tag:yaml.org,2002:python/object/apply:os.system` is not allowed: plain values only"]),
    "c09_alias_bomb": ("text", "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")), ["alias"]),
    "c10_out_of_the_run": ("set", "data.root=../../../etc", ["`data.root` is not a folder"]),
    "c11_variables_stay_text": ("set", "data.root=$HOME", ["`data.root` is not a folder. Received: $HOME"]),
    "c12_no_stems": ("set", "data.stems=[]", ["`data.stems` must not be empty. Received: []"]),
    "c12_stem_twice": ("set", "data.stems=[vocals,vocals]", ["`data.stems` must not name anything twice; twice: `vocals`."]),
    "c12_unknown_stem": ("set", "data.stems=[vocals,vocal]", ["lacks the stem `vocal`"]),
    "c13_rate_of_the_model": ("set", "model.sample_rate=48000", ["`model.sample_rate` is set by the run itself. Remove it."]),
    "c14_two_ways_of_clipping": ("set", "training.optimizer.global_clipnorm=1.0", ["`training.optimizer.global_clipnorm` is not an argument of `adamw`"]),
    "c15_of_a_newer_version": ("text", "schema: 9", ["`schema` is not a known key", "tiny.yaml"]),
    "c16_import_path": ("set", "model.name=os.system", ["`model.name` is no model. Received: os.system"]),
    "c16_import_path_of_a_loss": ("set", "loss=[{name: subprocess.run}]", ["`loss.0.name` is no loss. Received: subprocess.run"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, case: str) -> None:
    kind, text, words = CASES[case]
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path)
    if kind == "text":
        config.write_text(text if text.startswith(("model", "a:")) else f"{text}\n{config.read_text()}" if "seed: 1" not in text and "!!" not in text else f"{config.read_text()}{text}\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    overrides = [f"--set={text}"] if kind == "set" else []
    assert main(["train", f"--config={config}", "--run_dir=run", *overrides]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "Traceback" not in said and len(said) < 3000
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before and not (tmp_path / "run").exists()


def test_c13_songs_of_another_rate_than_the_model_are_resampled_and_not_refused(tmp_path: Path) -> None:
    """At half the rate of its training the same song gives a stem of the rate of the song: see `tests/workflows/test_separate.py`. In a training the data follow the config."""
    config = write_config(tmp_path, epochs=1, steps_per_epoch=1)
    assert main(["train", f"--config={config}", f"--run_dir={tmp_path / 'run'}", "--set=data.sample_rate=6000"]) == 0
    assert "sample_rate: 6000" in (tmp_path / "run" / "config.yaml").read_text()

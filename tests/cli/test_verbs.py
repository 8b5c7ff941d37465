"""What each verb hands to its workflow. The workflows are stood in for; their own tests are in tests/workflows."""

import hashlib
import sys
import types
from pathlib import Path

import pytest

from kseparation.cli import demo, evaluate, import_weights, models, separate, train
from kseparation.cli.flags import Verb, parse_flags
from kseparation.config import demo as demo_module
from kseparation.config.demo import demo_config
from kseparation.errors import UserError


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch):
    """Replaces a module by one whose functions record their calls."""

    def replace(module: str, **results: object) -> list:
        calls = []

        def record(name: str, result: object):
            def function(*arguments, **keywords):
                calls.append((name, arguments, keywords))
                return result

            return function

        functions = {
            name: result if isinstance(result, type) else record(name, result) for name, result in results.items()
        }
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**functions))
        return calls

    return replace


def run(verb: Verb, *arguments: str) -> object:
    return verb.run(*parse_flags(verb, arguments))


def test_train_reads_the_config_and_hands_over_the_flags(stand_in, tmp_path: Path) -> None:
    result = types.SimpleNamespace(run_folder=tmp_path / "run", summary={"sdr": 1.0})
    calls = stand_in("kseparation.workflows.train", train=result)
    path = tmp_path / "a.yaml"
    path.write_text("seed: 3")
    printed = run(
        train.VERB,
        f"--config={path}",
        "--set=training.batch_size=2",
        "--epochs=7",
        "--strict",
        "--allow=seed,loss.0.weight",
    )
    assert printed == {"run_folder": str(tmp_path / "run"), "sdr": 1.0}
    [(_, (config,), keywords)] = calls
    assert (config.seed, config.training.batch_size, config.training.epochs) == (3, 2, 7)
    assert keywords == {"run_dir": None, "resume": "auto", "strict": True, "allow": ("seed", "loss.0.weight")}


def test_commands_that_train_keep_freed_memory(stand_in, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in("kseparation.workflows.train", train=types.SimpleNamespace(run_folder=tmp_path, summary={}))
    stand_in("kseparation.workflows.demo", demo={})
    kept = []
    for module in (train, demo):
        monkeypatch.setattr(module, "keep_freed_memory", lambda: kept.append(module.__name__))
        run(module.VERB)
    assert kept == ["kseparation.cli.train", "kseparation.cli.demo"]


def test_train_goes_on_with_the_config_of_the_run(stand_in, tmp_path: Path) -> None:
    calls = stand_in("kseparation.workflows.train", train=types.SimpleNamespace(run_folder=tmp_path, summary={}))
    (tmp_path / "config.yaml").write_text("seed: 8")
    run(train.VERB, f"--resume={tmp_path}", "--run_dir=r")
    [(_, (config,), keywords)] = calls
    assert (config.seed, keywords["resume"], keywords["run_dir"]) == (8, str(tmp_path), Path("r"))


def test_train_finds_its_default_config_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo_config().is_absolute() and demo_config().is_file()
    monkeypatch.setattr(demo_module, "__file__", str(tmp_path / "package" / "config" / "demo.py"))
    with pytest.raises(UserError, match="The demo's config is not there: it comes with the source"):
        demo_config()


def test_separate_hands_over_settings_name_and_hash(stand_in, tmp_path: Path) -> None:
    file = tmp_path / "net.keras"
    file.write_bytes(b"weights")
    stand_in("kseparation.models.loading", find_model_file=file, load_model="the model")
    settings = type("SeparateSettings", (), {"__init__": lambda self, **fields: self.__dict__.update(fields)})
    calls = stand_in("kseparation.workflows.separate", separate={"tracks": []}, SeparateSettings=settings)
    result = run(
        separate.VERB,
        "a.wav",
        f"--model={file}",
        "b.mp3",
        "--stems=vocals,drums",
        "--shifts=2",
        "--bits=32f",
        "--residual",
    )
    assert result == {"tracks": []}
    [(_, (inputs, model, used, name, digest), _)] = calls
    assert (inputs, model, name) == (["a.wav", "b.mp3"], "the model", "net")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert used.stems == ("vocals", "drums")
    assert (used.shifts, used.bits, used.residual, used.overlap) == (2, "32f", True, 0.5)


def test_the_settings_of_separate_have_the_defaults_of_its_flags(stand_in) -> None:
    from kseparation.workflows.separate_plan import SeparateSettings

    used = []
    stand_in("kseparation.models.loading", find_model_file=Path(__file__), load_model=None)
    stand_in("kseparation.workflows.separate", separate=None, SeparateSettings=SeparateSettings)
    sys.modules["kseparation.workflows.separate"].separate = lambda *arguments: used.append(arguments[2])
    run(separate.VERB, "a.wav", "--model=x")
    given = {"out": "o", "two_stems": "vocals", "overlap": 0.25, "shifts": 1, "format": "flac", "bits": "24", "clip_mode": "none"}
    given |= {"filename": "{track}_{stem}.{ext}", "jobs": 3}
    run(separate.VERB, "a.wav", "--model=x", *(f"--{name}={value}" for name, value in given.items()), "--residual", "--skip_existing")
    assert used == [SeparateSettings(), SeparateSettings(**given, residual=True, skip_existing=True)]


def test_evaluate_names_the_model_and_its_run(stand_in, tmp_path: Path) -> None:
    stand_in("kseparation.models", load_model="the model")
    calls = stand_in("kseparation.workflows.evaluate", evaluate={"mean": {}})
    assert run(evaluate.VERB, f"--model={tmp_path}", "--metrics=sdr", "--subset=train") == {"mean": {}}
    [(_, arguments, keywords)] = calls
    assert arguments == ("the model", "builtin")
    assert keywords == {
        "subset": "train",
        "metrics": ["sdr"],
        "out": "results",
        "overlap": None,
        "model_name": tmp_path.name,
        "run_folder": tmp_path,
        "baseline": None,
    }
    run(evaluate.VERB, f"--model={tmp_path}", "--metrics=sdr,si_sdr", "--overlap=0.75", "--data=songs", "--out=o", "--baseline=b")
    assert (calls[1][1][1], calls[1][2]["out"], calls[1][2]["baseline"]) == ("songs", "o", "b")
    assert (calls[1][2]["metrics"], calls[1][2]["overlap"]) == (["sdr", "si_sdr"], 0.75)


def test_demo_hands_over_its_flags(stand_in) -> None:
    calls = stand_in("kseparation.workflows.demo", demo={"sdr": 1.0})
    assert run(demo.VERB, "--minutes=2", "--out=x") == {"sdr": 1.0}
    assert calls == [("demo", (), {"minutes": 2.0, "out": "x"})]


def test_models_are_set_as_a_table(stand_in) -> None:
    rows = [
        {"name": "moises_light", "preset": "demo", "stems": ["vocals", "drums"], "parameters": 1234567},
        {"name": "other", "preset": None, "stems": [], "parameters": 5},
    ]
    stand_in("kseparation.workflows.models", list_models=rows)
    assert run(models.VERB) == rows
    assert models.VERB.show(rows).splitlines() == [
        "name          preset  stems          parameters",
        "------------  ------  -------------  ----------",
        "moises_light  demo    vocals, drums   1,234,567",
        "other         -                               5",
    ]


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        (separate.VERB, ["--model=x"], "`separate` needs audio files or folders. Received: none."),
        (separate.VERB, ["a.wav"], "`--model` is required: a run folder or a .keras file."),
        (evaluate.VERB, [], "`--model` is required: a run folder or a .keras file."),
        (train.VERB, ["--config=nowhere.yaml"], "The config `nowhere.yaml` does not exist."),
    ],
)
def test_what_is_missing_is_said_before_keras_is_loaded(verb: Verb, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match="^" + words.replace(".", "[.]")):
        run(verb, *arguments)


def test_import_weights_splits_its_pairs_at_the_commas_between_them(stand_in) -> None:
    calls = stand_in("kseparation.workflows.import_weights", import_weights={"model": "a.keras"})
    given = ("--source=moises-light", "--checkpoint=w.pt", "--out=a.keras")
    assert run(import_weights.VERB, *given, "--model_config=preset=paper_small,stems=[vocals,drums], hop_samples=512") == {"model": "a.keras"}
    assert calls[0][1] == ("moises-light", "w.pt", "a.keras", ["preset=paper_small", "stems=[vocals,drums]", "hop_samples=512"])
    run(import_weights.VERB, *given)
    assert calls[1][1][-1] == []


@pytest.mark.parametrize("missing", ["source", "checkpoint", "out"])
def test_import_weights_needs_three_flags(missing: str) -> None:
    given = {"source": "moises-light", "checkpoint": "w.pt", "out": "a.keras"}
    with pytest.raises(UserError, match=f"`--{missing}` is required. Example: `kseparation import_weights --source=moises-light"):
        run(import_weights.VERB, *(f"--{name}={value}" for name, value in given.items() if name != missing))

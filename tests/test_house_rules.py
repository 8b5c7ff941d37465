"""Rules of the house that are about files: sizes, names, docstrings, tests beside code, commands in the README."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kseparation.cli.flags import parse_flags
from kseparation.cli.main import VERBS
from kseparation.config.loading import flat_config, load_config

ROOT = Path(__file__).parents[1]
CODE = sorted([*(ROOT / "kseparation").rglob("*.py"), *(ROOT / "apps").glob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
# Keras calls these; their class says what they do.
UNDOCUMENTED = {"build", "call", "get_config", "compute_output_shape", "compute_output_spec", "from_config"}
# Test files that belong to no single module.
HOUSE_TESTS = {
    *("test_floors.py", "test_house_rules.py", "test_contracts.py"),
    *(f"parity/test_{peer}.py" for peer in ("auraloss", "moises_light", "vector_quantize")),
    *("models/test_golden.py", "training/test_keras_assumptions.py", "workflows/test_resumed_training.py"),
    *("storage/test_damaged_checkpoints.py", "storage/test_killed_writers.py"),
    *("workflows/test_bad_audio.py", "workflows/test_bad_config.py", "workflows/test_import_command.py"),
}
# Modules that are tested through another one.
TESTED_IN = {
    "audio/decoding.py": "audio/test_reading.py",
    **{f"cli/{verb}.py": "cli/test_verbs.py" for verb in ("demo", "evaluate", "import_weights", "models", "replay", "separate", "train")},
    "config/demo.py": "cli/test_verbs.py",
    "config/stem_names.py": "config/test_records.py",
    "config/wording.py": "config/test_loading.py",
    **{f"data/builtin/{part}.py": "data/builtin/test_composer.py" for part in ("accompaniment", "drumming", "melody", "score")},
    **{f"data/builtin/{part}.py": "data/builtin/test_prepare.py" for part in ("song", "song_folder")},
    "data/builtin/song_process.py": "data/builtin/test_song_processes.py",
    **{f"data/builtin/{part}.py": "data/builtin/test_singing.py" for part in ("speech_process", "world_singer")},
    "errors.py": "cli/test_main.py",
    "layers/seeded_dropout.py": "workflows/test_interrupted_training.py",
    "metrics/blocks.py": "metrics/test_global_sdr.py",
    "metrics/bss_eval_process.py": "parity/test_museval.py",
    "models/count_settings.py": "models/test_count_autoencoder.py",
    "models/moises_light_presets.py": "models/test_moises_light.py",
    "workflows/public_moises_light.py": "workflows/test_import_weights.py",
    "reporting/palette.py": "reporting/test_plots.py",
    "reporting/report_data.py": "reporting/test_report.py",
    **{f"training/{part}_watch.py": "training/test_examination.py" for part in ("layer", "operation")},
    **{f"training/{part}.py": "workflows/test_replay.py" for part in ("alien_state", "evidence", "rerun")},
    **{f"training/faults/{part}.py": "workflows/test_faults.py" for part in ("batch_faults", "codebook_faults", "injection", "program_faults", "state_faults", "table")},
    "training/optimizers.py": "workflows/test_build.py",
    "training/watch_steps.py": "workflows/test_faults.py",
    "workflows/fitting.py": "workflows/test_trouble_after_a_resume.py",
    "workflows/incident_record.py": "workflows/test_recovered_training.py",
    **{f"workflows/tasks/{part}.py": "workflows/test_build.py" for part in ("construction", "separation", "task")},
    **{f"workflows/{part}.py": "workflows/test_count_training.py" for part in ("evaluate_counts", "tasks/counts")},
    "workflows/separate_outputs.py": "workflows/test_separate.py",
    "workflows/separate_plan.py": "workflows/test_separate_requests.py",
    "workflows/whole_song_scores.py": "parity/test_museval.py",
}


def long_files(paths: list[Path]) -> list[str]:
    """Returns the files with more than 400 lines."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    return [f"{path} has {length} lines" for path, length in lengths.items() if length > 400]


def long_definitions(path: Path) -> Iterator[str]:
    """Yields functions of more than 60 lines without their docstring, and constructors of more than 15 arguments."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        lines = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node) is not None:
            lines -= node.body[0].end_lineno - node.body[0].lineno + 1
        if lines > 60:
            yield f"{path}:{node.lineno} {node.name} has {lines} lines"
        arguments = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs) - 1
        if node.name == "__init__" and arguments > 15:
            yield f"{path}:{node.lineno} takes {arguments} arguments"


def undocumented(path: Path) -> Iterator[str]:
    """Yields the public classes, functions and methods without a docstring; an override has that of its base class."""

    def visit(body: list[ast.stmt], overrides: bool) -> Iterator[str]:
        for node in body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
                continue
            is_class = isinstance(node, ast.ClassDef)
            if ast.get_docstring(node) is None and (is_class or not overrides) and node.name not in UNDOCUMENTED:
                yield f"{path}:{node.lineno} {node.name}"
            if is_class:
                yield from visit(node.body, bool(node.bases))

    tree = ast.parse(path.read_text(encoding="utf-8"))
    if ast.get_docstring(tree) is None:
        yield f"{path}:1 the module"
    yield from visit(tree.body, False)


def test_no_file_is_longer_than_400_lines(tmp_path: Path) -> None:
    assert long_files([*CODE, *(ROOT / "tests").rglob("*.py")]) == []
    (tmp_path / "long.py").write_text("x = 1\n" * 401)
    assert long_files([tmp_path / "long.py"]) == [f"{tmp_path}/long.py has 401 lines"]


def test_functions_and_constructors_are_short(tmp_path: Path) -> None:
    assert [item for path in CODE for item in long_definitions(path)] == []
    file = tmp_path / "long.py"
    file.write_text(
        "def f():\n" + "    x = 1\n" * 60 + f"def __init__(self, {', '.join(f'a{n}' for n in range(16))}): ...\n"
    )
    assert list(long_definitions(file)) == [f"{file}:1 f has 61 lines", f"{file}:62 takes 16 arguments"]


def test_module_names_say_what_is_inside() -> None:
    assert [path for path in CODE if path.stem in ("utils", "helpers", "common", "misc")] == []


def test_what_is_public_is_documented(tmp_path: Path) -> None:
    assert [item for path in CODE for item in undocumented(path)] == []
    file = tmp_path / "bare.py"
    file.write_text("class A:\n    def f(self): ...\n    def call(self): ...\n    def _g(self): ...\n")
    assert list(undocumented(file)) == [f"{file}:1 the module", f"{file}:1 A", f"{file}:2 f"]


def test_every_test_is_in_a_file_that_pytest_collects() -> None:
    has_test = re.compile(r"^\s*def test_", re.MULTILINE)
    files = [path for path in (ROOT / "tests").rglob("*.py") if has_test.search(path.read_text(encoding="utf-8"))]
    assert sorted(files) == TESTS


def test_every_module_has_its_test() -> None:
    """`kseparation/a/b.py` is tested in `tests/a/test_b.py`, or TESTED_IN says where; and no test file is without a place."""
    modules = {str(path.relative_to(ROOT / "kseparation")) for path in CODE if "kseparation" in path.parts and path.name != "__init__.py"}
    tests = {str(path.relative_to(ROOT / "tests")) for path in TESTS}
    mirrored = {module: str(Path(module).with_name(f"test_{Path(module).name}")) for module in modules}
    assert sorted(module for module in modules - set(TESTED_IN) if mirrored[module] not in tests) == []
    assert set(TESTED_IN) <= modules and set(TESTED_IN.values()) <= tests
    assert [module for module in TESTED_IN if mirrored[module] in tests] == []
    assert tests - set(mirrored.values()) - set(TESTED_IN.values()) == HOUSE_TESTS


def test_commands_of_the_readme_exist() -> None:
    """Each `make` target and each verb that the README names is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = "\n".join(
        re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    )
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z][a-z-]*)", code)) <= targets
    assert set(re.findall(r"^(?:\$ )?kseparation ([a-z_]+)", code, re.MULTILINE)) <= set(VERBS)
    assert set(re.findall(r"\bapps/([a-z_]+)\.py", code)) <= set(VERBS)
    commands = re.findall(r"^kseparation ([a-z_]+[^#\n]*)", code, re.MULTILINE)
    assert len(commands) >= 4
    for verb, *arguments in map(shlex.split, commands):
        flags, _ = parse_flags(VERBS[verb], arguments)
        if verb == "train" and flags.config:
            load_config(ROOT / flags.config, flags.set)


def test_settings_of_the_docs_exist() -> None:
    """Every key that the table of settings gives for another trainer's is a key of a config."""
    rows = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    ours = " ".join(row.split("|")[2] for row in rows if row.startswith("| "))
    named = set(re.findall(r"`((?:data|training|evaluation|logging|loss|model)\.[a-z0-9_.]+)", ours))
    assert len(named) > 15
    arguments = set()
    for architecture in ("moises_light", "count_autoencoder"):
        model = ast.parse((ROOT / "kseparation" / "models" / f"{architecture}.py").read_text(encoding="utf-8"))
        constructor = next(node for node in ast.walk(model) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
        arguments |= {f"model.{argument.arg}" for argument in constructor.args.args}
    assert named - set(flat_config(load_config(ROOT / "configs" / "demo" / "separation.yaml"))) - arguments == set()


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax", "test"])
def test_every_requirement_is_pinned_alike(backend: str) -> None:
    """One version of each package in all environments, and nothing but names and versions in the files."""
    pins = (ROOT / "requirements" / f"{backend}.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line)] == []
    assert set(pins) <= set((ROOT / "requirements" / "test.txt").read_text(encoding="utf-8").splitlines())

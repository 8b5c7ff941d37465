"""Who may import whom: the floors of the house, and one home for each outside library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"errors", "audio", "config", "storage"},
    {"ops"},
    {"layers", "losses", "metrics", "data"},
    {"models", "training"},
    {"reporting"},  # half a floor below the workflows, which write the reports
    {"workflows", "serving"},
    {"cli"},
]
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
BACKENDS = {"tensorflow", "torch", "jax"}
HOMES = {
    "soundfile": "audio",
    "soxr": "audio",
    "yaml": "config",
    "pydantic": "config",
    "pydantic_core": "config",
    "absl": "cli",
    "h5py": "data",
    "musdb": "data",
    "jinja2": "reporting",
    "matplotlib": "reporting",
    "museval": "metrics",
    "tensorboardX": "training",
}
# keras.ops has these, but not the same on every backend, or not at a usable speed.
FORBIDDEN_CALLS = {"stft", "istft", "cond"}


def violations(root: Path) -> list[str]:
    """Returns what `kseparation/` below `root` does against the rules, as `file:line what`."""
    found = []
    for path in sorted((root / "kseparation").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        parts = path.relative_to(root / "kseparation").with_suffix("").parts
        at_module_level = {id(node) for node in _module_level(tree)}
        for node in ast.walk(tree):
            what = [
                *_imports(node, parts[0], id(node) in at_module_level, text.splitlines()),
                *_calls(node),
            ]
            found += [f"{path.relative_to(root)}:{node.lineno} {item}" for item in what]
    return found


def _module_level(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _module_level(child)


def _imports(node: ast.AST, package: str, module_level: bool, lines: list[str]) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom):
        names = (
            [f"{node.module or ''}"] if node.module != "kseparation" else [f"kseparation.{a.name}" for a in node.names]
        )
        if node.level:
            yield "imports by a relative path"
    else:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    for name in names:
        top, _, rest = name.partition(".")
        inner = rest.partition(".")[0]
        here = FLOOR_OF.get(package, -1)
        if top == "kseparation" and inner in FLOOR_OF and inner != package:
            if FLOOR_OF[inner] > here:
                yield f"imports {name}, which is above it"
            elif FLOOR_OF[inner] == here and inner != "errors":
                yield f"imports {name}, which is on the same floor"
        if top == "kseparation" and inner and inner not in FLOOR_OF and not inner.startswith("__"):
            yield f"imports {name}, which is on no floor"
        if top == "keras" and here < 1:
            yield f"imports {name}, which starts at ops"
        if top in HOMES and package != HOMES[top]:
            yield f"imports {name}, whose home is {HOMES[top]}"
        if top in BACKENDS and module_level:
            yield f"imports {name} at module level"
        elif top in BACKENDS and "#" not in lines[node.lineno - 1] and "#" not in lines[node.lineno - 2]:
            yield f"imports {name} without a comment that gives the reason"


def _calls(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    name = ast.unparse(node.func)
    owner, _, function = name.rpartition(".")
    if function in FORBIDDEN_CALLS and owner.split(".")[-1] == "ops" and owner in ("ops", "keras.ops"):
        yield f"calls {name}, which is not the same on every backend"
    if function in ("Conv1D", "Conv2D") and any(keyword.arg == "groups" for keyword in node.keywords):
        yield f"calls {name} with groups, which takes a hundred times as long on two backends"


def test_every_package_has_a_floor() -> None:
    packages = {
        path.stem for path in (ROOT / "kseparation").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert packages - {"__init__", "__main__", "__pycache__"} <= set(FLOOR_OF)


def test_the_house_keeps_its_floors() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("path", "code", "expected"),
    [
        ("ops/a.py", "from kseparation.layers import STFT", "1 imports kseparation.layers, which is above it"),
        ("ops/a.py", "def f():\n    from kseparation import cli", "2 imports kseparation.cli, which is above it"),
        ("layers/a.py", "import kseparation.losses.x", "1 imports kseparation.losses.x, which is on the same floor"),
        (
            "audio/a.py",
            "from kseparation.storage import b",
            "1 imports kseparation.storage, which is on the same floor",
        ),
        ("audio/a.py", "import keras", "1 imports keras, which starts at ops"),
        ("errors.py", "from keras import ops", "1 imports keras, which starts at ops"),
        ("ops/a.py", "import kseparation.attic", "1 imports kseparation.attic, which is on no floor"),
        ("ops/a.py", "from . import b", "1 imports by a relative path"),
        ("data/a.py", "def f():\n    import soundfile", "2 imports soundfile, whose home is audio"),
        ("models/a.py", "import torch.nn", "1 imports torch.nn at module level"),
        ("models/a.py", "if x:\n    import torch", "2 imports torch at module level"),
        ("models/a.py", "def f():\n    import jax", "2 imports jax without a comment that gives the reason"),
        ("ops/a.py", "y = keras.ops.istft(x)", "1 calls keras.ops.istft, which is not the same on every backend"),
        ("ops/a.py", "y = ops.cond(a, b, c)", "1 calls ops.cond, which is not the same on every backend"),
        (
            "layers/a.py",
            "y = keras.layers.Conv2D(8, 3, groups=4)",
            "1 calls keras.layers.Conv2D with groups, which takes a hundred times as long on two backends",
        ),
    ],
)
def test_a_made_up_module_is_caught(tmp_path: Path, path: str, code: str, expected: str) -> None:
    file = tmp_path / "kseparation" / path
    file.parent.mkdir(parents=True)
    file.write_text(code)
    assert violations(tmp_path) == [f"kseparation/{path}:{expected}"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (
            "models/a.py",
            "import keras\nfrom kseparation.layers import STFT\nfrom kseparation.models.base import Separator",
        ),
        (
            "audio/a.py",
            "import soundfile\nfrom kseparation.errors import UserError\nfrom kseparation import __version__",
        ),
        ("cli/a.py", "def f():\n    import torch  # device listing\n    from kseparation.workflows.train import train"),
        ("layers/a.py", "y = stft(x)\nz = keras.layers.Conv2D(8, 3)"),
    ],
)
def test_a_proper_module_passes(tmp_path: Path, path: str, code: str) -> None:
    file = tmp_path / "kseparation" / path
    file.parent.mkdir(parents=True)
    file.write_text(code)
    assert violations(tmp_path) == []

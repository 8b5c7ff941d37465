import os
import sys
import types

import pytest

from kseparation.cli import backend
from kseparation.cli.backend import prepare_environment, require_gpu, select_backend
from kseparation.errors import MachineError, UserError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Makes only these backends look installed, in a process without Keras and without a choice."""
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.delitem(sys.modules, "keras", raising=False)

    def only(*names: str) -> None:
        monkeypatch.setattr(backend, "_is_installed", lambda name: name in names)

    return only


def test_the_flag_wins_over_the_variable(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("jax", "torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert select_backend(None) == "torch"
    assert select_backend("jax") == "jax"
    assert os.environ["KERAS_BACKEND"] == "jax"


@pytest.mark.parametrize(("names", "first"), [(("jax", "torch"), "torch"), (("jax",), "jax")])
def test_the_first_installed_is_taken_and_printed(installed, capsys, names: tuple[str, ...], first: str) -> None:
    installed(*names)
    assert select_backend(None) == first
    assert capsys.readouterr().err == f"backend: {first} (choose with --backend or KERAS_BACKEND)\n"


def test_a_backend_that_is_missing_names_the_cure(installed) -> None:
    installed("jax")
    with pytest.raises(
        UserError, match=r"Received: torch. Installed: jax. Install it: `pip install \"kseparation\[torch\]\"`"
    ):
        select_backend("torch")
    installed()
    with pytest.raises(UserError, match="No backend is installed. Install one: `pip install"):
        select_backend(None)


def test_an_unknown_backend_is_refused(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match="`--backend` must be a backend. Received: tensorlow. Did you mean `tensorflow`"
    ):
        select_backend("tensorlow")
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    with pytest.raises(UserError, match="`KERAS_BACKEND` must be a backend. Received: numpy"):
        select_backend(None)


def test_a_choice_after_keras_was_loaded_is_refused(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("jax", "torch")
    running = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: "torch"))
    monkeypatch.setitem(sys.modules, "keras", running)
    with pytest.raises(
        UserError, match="`--backend` came too late: Keras runs on torch in this process. Received: jax"
    ):
        select_backend("jax")
    assert select_backend("torch") == "torch"


def test_cpu_hides_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "KERAS_TORCH_DEVICE")
    for variable in variables:
        monkeypatch.setenv(variable, "before")
    prepare_environment("auto")
    assert [os.environ[variable] for variable in variables] == ["before"] * 3
    prepare_environment("cpu")
    assert [os.environ[variable] for variable in variables] == ["-1", "cpu", "cpu"]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("tensorflow", {"config": types.SimpleNamespace(list_physical_devices=lambda kind: [kind])}),
        ("torch", {"cuda": types.SimpleNamespace(is_available=lambda: True)}),
        ("jax", {"devices": lambda: [types.SimpleNamespace(platform="gpu")]}),
    ],
)
def test_each_backend_is_asked_for_a_gpu(monkeypatch: pytest.MonkeyPatch, name: str, module: dict) -> None:
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**module))
    assert require_gpu(name) is None


def test_a_missing_gpu_is_a_matter_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    without = types.SimpleNamespace(devices=lambda: [types.SimpleNamespace(platform="cpu")])
    monkeypatch.setitem(sys.modules, "jax", without)
    with pytest.raises(MachineError, match="The backend jax finds no GPU"):
        require_gpu("jax")

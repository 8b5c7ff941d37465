"""Tensors of PyTorch checkpoints are read; what is none is refused, and what a file brings along never runs."""

import functools
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kseparation.errors import MachineError, UserError
from kseparation.storage.torch_state import read_torch_state

# All in one process: it takes longer to import torch than to write them.
PROGRAM = """
import pathlib, sys, torch

folder = pathlib.Path(sys.argv[1])

class Code:
    def __reduce__(self): return pathlib.Path.touch, (folder / "ran",)

class Bomb:
    def __reduce__(self): return bytearray, (4 * 10**9,)

contents = {
    "plain": {"file": torch.ones(2, requires_grad=True), "keys": torch.zeros(3), "half": torch.full((2,), 0.5).half(), "count": torch.tensor(7)},
    "wrapped": {"epoch": 3, "state_dict": {"w": torch.ones(2)}},
    "code": {"w": Code()},
    "bomb": {"w": Bomb()},
    "claims": {"w": torch.zeros(1).expand(10**11)},
    "list": [1, 2],
    "mixed": {"w": torch.ones(1), "epoch": 3},
    "sparse": {"w": torch.eye(3).to_sparse()},
}
for name, content in contents.items():
    torch.save(content, folder / f"{name}.pt")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], check=True)
    (folder / "text.pt").write_text("weights")
    (folder / "cut.pt").write_bytes((folder / "plain.pt").read_bytes()[:500])
    return folder


def test_tensors_are_read_by_name_without_half_precision_and_gradients(files):
    state = read_torch_state(files / "plain.pt")
    assert {key: value.tolist() for key, value in state.items()} == {"file": [1, 1], "keys": [0, 0, 0], "half": [0.5, 0.5], "count": 7}
    assert str(state["half"].dtype) == "float32"


def test_a_state_dict_inside_a_checkpoint_of_a_training_is_found(files):
    assert {key: value.tolist() for key, value in read_torch_state(files / "wrapped.pt").items()} == {"w": [1, 1]}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("code", "It names `[a-z.]+`, and only tensors are opened. Save the state dict alone"),
        ("bomb", r"asks for much more memory than its \d,\d+ bytes"),
        ("claims", r"claim 400,000,000,000 bytes, and the file has \d"),
        ("list", "no state dict. Received: list"),
        ("mixed", "Received: epoch"),
        ("sparse", "`w` is no plain real tensor. Received: torch.sparse_coo"),
        ("text", "damaged, or no file of `torch.save`"),
        ("cut", "damaged, or no file of `torch.save`"),
        ("none", "does not exist"),
        (".", "not a regular file"),
    ],
)
def test_what_is_no_state_dict_is_refused(files, name, words):
    with pytest.raises(UserError, match=words):
        read_torch_state(files if name == "." else files / f"{name}.pt")
    assert not (files / "ran").exists()


def test_code_in_a_plain_pickle_never_runs(tmp_path):
    marker = tmp_path / "ran"

    class Code:
        def __reduce__(self):
            return Path.touch, (marker,)

    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"state_dict": Code()}))
    with pytest.raises(UserError, match="only tensors are opened|damaged, or no file of `torch.save`"):
        read_torch_state(tmp_path / "plain.pt")
    assert not marker.exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert marker.exists()  # it would have run


def test_modules_beside_the_checkpoint_never_run(files, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    for module in ("torch", "numpy", "kseparation"):
        (tmp_path / f"{module}.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    monkeypatch.chdir(tmp_path)
    assert len(read_torch_state(files / "plain.pt")) == 4 and not marker.exists()


def test_a_full_disk_is_no_fault_of_the_file(files, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
        "runpy.run_module('kseparation.storage.torch_state', run_name='__main__')"
    )

    def run(original, command, **options):
        return original([command[0], "-P", "-c", program, *command[4:]], **options)

    monkeypatch.setattr(subprocess, "run", functools.partial(run, subprocess.run))
    with pytest.raises(MachineError, match="File too large. Free space there, or set TMPDIR"):
        read_torch_state(files / "plain.pt")
    assert not list(tmp_path.iterdir())

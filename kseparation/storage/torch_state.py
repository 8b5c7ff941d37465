"""Reads the tensors of a PyTorch checkpoint, in a process of its own: torch and TensorFlow in one process can crash, and a hostile file harms nothing else.

The process is this module: `python -P -m kseparation.storage.torch_state CHECKPOINT OUT.npz`.
"""

import os
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

import kseparation
from kseparation.errors import MachineError, UserError

# Under which a training keeps the state dict beside others.
WRAPPERS = ("state_dict", "model_state_dict", "model")
REFUSED, DISK_FULL = 82, 85  # of this process alone: a library that fails may end it with 1 or 2
# Older ones run or corrupt what a file brings along although they are told not to (CVE-2025-32434, CVE-2026-24747).
SAFE_TORCH = (2, 10)
# A tensor may repeat one number without end, and a small file may unpack to one that no memory holds.
LARGEST_GROWTH = 8
MEMORY_BESIDE = 2 * 2**30  # bytes that torch may take for itself
NO_STATE = "It is damaged, or no file of `torch.save`."


def read_torch_state(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name, half precision as float32.

    Nothing in the file is executed: only tensors and plain containers are unpickled.

    Args:
        path: a file of `torch.save`, holding the state dict or a dictionary with it under `state_dict`, `model_state_dict` or `model`.

    Raises:
        UserError: the file is missing, damaged, names anything but tensors, or torch is not installed.
        MachineError: no room for the tensors in the folder of temporary files.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"`--checkpoint` does not exist. Received: {path}")
    if not path.is_file():
        raise UserError(f"`--checkpoint` is not a regular file. Received: {path}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.npz"
        # -P: without it Python runs a torch.py or numpy.py that lies in the current folder.
        command = [sys.executable, "-P", "-m", "kseparation.storage.torch_state", str(path.resolve()), str(file)]
        path_of_modules = os.pathsep.join([str(Path(kseparation.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env={**os.environ, "PYTHONPATH": path_of_modules, "CUDA_VISIBLE_DEVICES": "-1"}
        )
        if ended.returncode == REFUSED:
            raise UserError(f"The checkpoint cannot be read: {path}. {ended.stderr.strip()}")
        if ended.returncode == DISK_FULL:
            raise MachineError(f"The tensors cannot be written to `{folder}`: {ended.stderr.strip()}. Free space there, or set TMPDIR to another disk.")
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"The checkpoint cannot be read: {path}. The process that read it ended with code {ended.returncode}: {last}")
        with np.load(file, allow_pickle=False) as arrays:
            return {str(key): arrays[f"tensor_{number}"] for number, key in enumerate(arrays["keys"])}


def _convert(path: str, out: str) -> None:
    try:
        import torch  # a checkpoint of torch is read by torch
    except ImportError:
        sys.exit(_refused('It takes torch to read it: pip install "kseparation[torch]".'))
    import pickle

    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        sys.exit(_refused(f"torch {torch.__version__} may run code that the file brings along. Take 2.10 or newer: pip install --upgrade torch."))
    warnings.simplefilter("ignore")  # they would stand in front of the message
    stored = os.path.getsize(path)
    _limit_memory(MEMORY_BESIDE + LARGEST_GROWTH * stored)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))  # the rest of torch's message tells how to run what the file brings along
        why = f"It names `{named[1]}`, and only tensors are opened. Save the state dict alone: torch.save(model.state_dict(), file)." if named else NO_STATE
        sys.exit(_refused(why))
    except MemoryError:
        sys.exit(_refused(f"It asks for much more memory than its {stored:,} bytes."))
    except RuntimeError as error:
        sys.exit(_refused(f"{NO_STATE} {_first_line(error)}"))
    except (EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile):  # their words are of no use
        sys.exit(_refused(NO_STATE))
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        sys.exit(_refused(f"It holds no state dict. Received: {type(content).__name__}. Save one: torch.save(model.state_dict(), file)."))
    strange = [str(key) for key, value in content.items() if not isinstance(key, str) or not isinstance(value, torch.Tensor)]
    if strange:
        sys.exit(_refused(f"Not all of its values are tensors. Received: {', '.join(strange[:8])}. Save the state dict alone: torch.save(model.state_dict(), file)."))
    for key, tensor in content.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            sys.exit(_refused(f"`{key}` is no plain real tensor. Received: {tensor.layout}, {tensor.dtype}"))
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    if claimed > LARGEST_GROWTH * stored:
        sys.exit(_refused(f"Its tensors claim {claimed:,} bytes, and the file has {stored:,}. Save the state dict alone: torch.save(model.state_dict(), file)."))
    tensors = [tensor.detach() for tensor in content.values()]
    arrays = {f"tensor_{number}": (tensor.float() if tensor.is_floating_point() else tensor).numpy() for number, tensor in enumerate(tensors)}
    try:
        np.savez(out, keys=np.array(list(content)), **arrays)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(DISK_FULL)


def _limit_memory(more: int) -> None:
    """Lets this process take so many bytes more, where the system can tell how many it has."""
    try:
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [taken + more, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]  # never above those that are set already
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))


def _first_line(error):
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__


def _refused(message):
    print(message, file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    _convert(*sys.argv[1:])

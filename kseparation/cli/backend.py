"""Choice of the Keras backend and of the device, which has to be made before Keras is imported."""

import importlib.util
import os
import sys

from kseparation.cli.flags import BACKENDS
from kseparation.errors import MachineError, UserError, did_you_mean

_INSTALL = 'pip install "kseparation[{}]"'


def select_backend(flag: str | None) -> str:
    """Chooses the backend: the flag, else `KERAS_BACKEND`, else the first installed one, which is then printed.

    Sets `KERAS_BACKEND` for the Keras that is imported later.

    Args:
        flag: value of `--backend`.

    Raises:
        UserError: the name is unknown, the backend is not installed, or Keras already runs on another one.
    """
    chosen, source = (flag, "--backend") if flag else (os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND")
    if not chosen:
        chosen = next((name for name in BACKENDS if _is_installed(name)), None)
        if chosen is None:
            commands = ", ".join(f"`{_INSTALL.format(name)}`" for name in BACKENDS)
            raise UserError(f"No backend is installed. Install one: {commands}.")
        print(f"backend: {chosen} (choose with --backend or KERAS_BACKEND)", file=sys.stderr)
    elif chosen not in BACKENDS:
        raise UserError(f"`{source}` must be a backend. Received: {chosen}. {did_you_mean(chosen, BACKENDS)}")
    elif not _is_installed(chosen):
        installed = ", ".join(name for name in BACKENDS if _is_installed(name)) or "none"
        raise UserError(
            f"The backend of `{source}` is not installed. Received: {chosen}. Installed: {installed}. "
            f"Install it: `{_INSTALL.format(chosen)}`."
        )
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != chosen:
        running = keras.config.backend()
        raise UserError(f"`{source}` came too late: Keras runs on {running} in this process. Received: {chosen}")
    os.environ["KERAS_BACKEND"] = chosen
    return chosen


def prepare_environment(device: str) -> None:
    """Sets what a backend finds while it is imported: a quiet start, and no GPU for `cpu`.

    Args:
        device: value of `--device`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["KERAS_TORCH_DEVICE"] = "cpu"


def require_gpu(backend: str) -> None:
    """Raises `MachineError` unless the backend finds a GPU. Imports the backend."""
    if not _finds_gpu(backend):
        raise MachineError(
            f"The backend {backend} finds no GPU, and `--require_gpu` or `--device=gpu` asks for one. "
            "Check the driver and whether this build of the backend supports it, or leave the flag out."
        )


def _is_installed(backend: str) -> bool:
    return importlib.util.find_spec(backend) is not None


def _finds_gpu(backend: str) -> bool:
    # Keras has no list of devices that tells a missing driver from a missing GPU on all three: each backend is asked.
    if backend == "tensorflow":
        import tensorflow  # device listing

        return bool(tensorflow.config.list_physical_devices("GPU"))
    if backend == "torch":
        import torch  # device listing

        return torch.cuda.is_available()
    import jax  # device listing

    return any(device.platform == "gpu" for device in jax.devices())

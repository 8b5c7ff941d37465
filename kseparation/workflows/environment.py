"""What a run was made with: versions, backend, machine."""

import importlib.metadata
import os
import platform
from pathlib import Path

import keras

import kseparation

PACKAGES = ("keras", "numpy", "scipy", "tensorflow", "tensorflow-cpu", "torch", "jax", "jaxlib", "soundfile", "soxr", "museval")


def describe_environment() -> dict:
    """Returns versions and machine as JSON values, with keys `kseparation`, `backend`, `device`, `python`, `platform`, `processor`, `cpus`, `dtype_policy`, `packages`."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "kseparation": kseparation.__version__,
        "backend": keras.backend.backend(),
        "device": str(keras.ops.zeros(1).device),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "dtype_policy": keras.config.dtype_policy().name,
        "packages": packages,
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")  # elsewhere Python knows it
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

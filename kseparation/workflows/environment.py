"""What a run was made with: versions, backend, machine."""

import importlib.metadata
import os
import platform

import keras

import kseparation

PACKAGES = ("keras", "numpy", "tensorflow", "tensorflow-cpu", "torch", "jax", "jaxlib", "soundfile", "soxr")


def describe_environment() -> dict:
    """Returns versions and machine as JSON values, with keys `kseparation`, `backend`, `python`, `platform`, `cpus`, `dtype_policy`, `packages`."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "kseparation": kseparation.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "dtype_policy": keras.config.dtype_policy().name,
        "packages": packages,
    }

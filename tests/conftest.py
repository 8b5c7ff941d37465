"""What every test process needs before the first import of Keras; each test starts from the same seeds."""

import atexit
import os
import random
import shutil
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[variable] = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"

# JAX compiles most of the time here: fast rather than for speed, and once for all processes. Its emitters of fused loops take two
# thirds of the time.
if os.environ["KERAS_BACKEND"] == "jax" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(
        ("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true", "--xla_cpu_use_fusion_emitters=false")
    )
    compiled = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="kseparation-tests-jax-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"

if os.environ["KERAS_BACKEND"] == "torch":
    # Loaded after TensorFlow, which parts of Keras load on demand, it has crashed the process.
    import torch  # noqa: F401

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("same_examples_each_time", derandomize=True, max_examples=25, deadline=None, database=None)
settings.load_profile("same_examples_each_time")


# Files that take minutes on some backend. Two processes share the files out, and a long one at the end would leave one of them idle.
FIRST = ("test_interrupted_training", "test_moises_light", "test_train", "test_resumed_training", "test_contracts", "test_demo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the longest files in front; all others keep their order."""
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


@pytest.fixture(autouse=True)
def same_seeds() -> None:
    """Seeds Python, NumPy and, in a process that has loaded it, Keras."""
    random.seed(0)
    np.random.seed(0)
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.set_random_seed(0)

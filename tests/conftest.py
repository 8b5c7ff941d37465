"""What every test process needs before the first import of Keras; each test starts from the same seeds."""

import os
import random
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "2")

if os.environ["KERAS_BACKEND"] == "torch":
    # Loaded after TensorFlow, which parts of Keras load on demand, it has crashed the process.
    import torch  # noqa: F401

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("same_examples_each_time", derandomize=True, max_examples=25, deadline=None, database=None)
settings.load_profile("same_examples_each_time")


@pytest.fixture(autouse=True)
def same_seeds() -> None:
    """Seeds Python, NumPy and, in a process that has loaded it, Keras."""
    random.seed(0)
    np.random.seed(0)
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.set_random_seed(0)

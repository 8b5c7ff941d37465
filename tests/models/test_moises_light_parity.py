"""The same weights in the public package moises-light 0.1.5 give the same stems."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kseparation.models import MoisesLight
from tests.on_backend import compute

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("output", "use_mask"), [("mask", "1"), ("direct", "0")])
def test_gives_what_the_public_package_gives(tmp_path, output, use_mask):
    file = tmp_path / "public.npz"
    # A process of its own, because torch and TensorFlow in one have crashed.
    command = [sys.executable, "-m", "tests.reference.public_moises_light", str(file), use_mask]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""})
    public = dict(np.load(file))
    mixture, stems = public.pop("mixture"), public.pop("stems")

    model = MoisesLight(window_samples=512, hop_samples=128, bins=192, width=8, transformers=1, output=output)
    model.build((None, None, 2))
    weights = {weight.path.split("/", 1)[-1]: weight for weight in model.weights}
    assert set(weights) == set(public)
    for path, value in public.items():
        weights[path].assign(value)

    assert np.sqrt(np.mean(stems**2)) > 0.01
    assert np.abs(compute(model, mixture) - stems).max() < 1e-4 * np.abs(stems).max()

"""The loss of several window lengths is that of the public package auraloss 0.4.0."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kseparation.losses import MultiResolutionSTFT
from tests.on_backend import compute

WINDOWS, SAMPLES = (2048, 1024, 512), 6000
# Ours -> the package's weights.
TERMS = {"spectral_convergence": "w_sc", "log_magnitude": "w_log_mag", "linear_magnitude": "w_lin_mag"}
CASES = {
    "default": {},
    "linear": {"spectral_convergence": 0.0, "log_magnitude": 0.0, "linear_magnitude": 1.0},
    "all": {"spectral_convergence": 0.5, "log_magnitude": 2.0, "linear_magnitude": 3.0},
}
PROGRAM = """
import json, sys
import auraloss, numpy, torch

folder, windows, cases = sys.argv[1], *map(json.loads, sys.argv[2:])
sizes = {"fft_sizes": windows, "hop_sizes": [window // 4 for window in windows], "win_lengths": windows}
true, pred = (torch.from_numpy(part) for part in numpy.load(folder + "/audio.npy"))
print(json.dumps({name: float(auraloss.freq.MultiResolutionSTFTLoss(**sizes, **weights)(pred, true)) for name, weights in cases.items()}))
"""


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Sound and the package's values for it, from a torch process of its own. It compares one item, whose channels are our stems and channels."""
    folder = tmp_path_factory.mktemp("auraloss")
    true, pred = np.random.default_rng(0).uniform(-1, 1, (2, 1, 2, SAMPLES, 2)).astype("float32") * np.array([1.0, 0.3], "float32")[:, None, None, None, None]
    np.save(folder / "audio.npy", [part.transpose(0, 1, 3, 2).reshape(1, 4, SAMPLES) for part in (true, pred)])
    cases = {name: {TERMS[term]: weight for term, weight in weights.items()} for name, weights in CASES.items()}
    command = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(WINDOWS), json.dumps(cases)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    return true, pred, json.loads(answer.stdout)


@pytest.mark.parametrize("name", CASES)
def test_loss_is_that_of_the_package(public, name):
    true, pred, values = public
    assert values[name] > 0.1
    assert compute(MultiResolutionSTFT(WINDOWS, **CASES[name]), true, pred) == pytest.approx(values[name], rel=1e-5)

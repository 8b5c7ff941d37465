"""The public package moises-light 0.1.5 with random weights and statistics, in a torch process of its own.

Usage: python -m tests.reference.public_moises_light FOLDER JSON, where JSON is a list of {"name", "preset" or sizes under "arguments", "stems", "lengths"}.
Writes FOLDER/<name>.pt, the state dict, FOLDER/<name>_state.npz with the same arrays, and FOLDER/<name>.npz with `mixture_<length>` `(batch, samples, channels)` and `stems_<length>`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TINY = {"n_fft": 512, "win_size": 512, "hop_size": 128, "freq_dim": 192, "n_bands": 4, "G": 8, "n_rope": 1}


def write_references(folder: Path, cases: list[dict]) -> None:
    """Runs the package; torch and TensorFlow in one process have crashed."""
    command = [sys.executable, "-m", "tests.reference.public_moises_light", str(folder), json.dumps(cases)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""})


def main(folder: str, cases: list[dict]) -> None:
    import torch
    from moises_light import MoisesLight, configs

    for case in cases:
        torch.manual_seed(0)
        sizes = configs[case["preset"]] if "preset" in case else case["arguments"]
        model = MoisesLight(**{**sizes, "sources": case["stems"]}).eval()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name.endswith(("gamma", "running_var", "bn.weight", "bn1.weight", "bn2.weight")):
                    tensor.uniform_(0.5, 1.5)
                elif name.endswith(("running_mean", "bias")):
                    tensor.uniform_(-0.3, 0.3)
            sounds = {}
            for length in case["lengths"]:
                mixture = torch.rand(1, 2, length) * 20 - 10  # the untrained direct output is soft
                sounds[f"mixture_{length}"] = mixture.transpose(1, 2).numpy()
                sounds[f"stems_{length}"] = model(mixture).transpose(2, 3).numpy()
        torch.save(model.state_dict(), Path(folder) / f"{case['name']}.pt")
        np.savez(Path(folder) / f"{case['name']}_state.npz", **{name: tensor.numpy() for name, tensor in model.state_dict().items()})
        np.savez(Path(folder) / f"{case['name']}.npz", **sounds)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

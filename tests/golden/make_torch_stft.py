"""Writes `torch_stft.npz`: spectra of one noise by `torch.stft`. Run: python tests/golden/make_torch_stft.py"""

from pathlib import Path

import numpy as np
import torch

# name: window, hop, length of the transform
CASES = {"quarter": (256, 64, 256), "uneven": (256, 90, 256), "odd": (251, 50, 251), "longer_transform": (200, 80, 512)}

if __name__ == "__main__":
    signal = np.random.default_rng(0).uniform(-1, 1, (2, 1001)).astype("float32")
    arrays = {"signal": signal}
    for name, (window, hop, fft_size) in CASES.items():
        arrays[name] = torch.stft(
            torch.from_numpy(signal), fft_size, hop, window, torch.hann_window(window), return_complex=True
        ).numpy()
        arrays[f"{name}_sizes"] = np.array([window, hop, fft_size])
    np.savez_compressed(Path(__file__).with_name("torch_stft.npz"), **arrays)

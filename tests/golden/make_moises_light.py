"""Writes a small model with seeded weights, and what it makes of a seeded noise. Run from the root: KERAS_BACKEND=torch python -m tests.golden.make_moises_light"""

from pathlib import Path

import keras
import numpy as np

from kseparation.models import MoisesLight
from tests.on_backend import compute
from tests.random_weights import randomize

FOLDER = Path(__file__).parent
ARGUMENTS = {
    "stems": ("vocals", "rest"),
    "sample_rate": 8000,
    "segment_samples": 600,
    "window_samples": 96,
    "hop_samples": 24,
    "bins": 48,
    "bands": 3,
    "width": 3,
    "levels": 2,
    "convolutions": 2,
    "transformers": 1,
}


# Name of a result -> what differs from ARGUMENTS.
VARIANTS = {
    "mask": {"output": "mask"},
    "softmax_mask": {"output": "softmax_mask"},
    "direct": {"output": "direct"},
    "folded": {"output": "softmax_mask", "fold_frames": 2},
    "training": {"output": "mask"},
}


def golden_model(variant: str) -> MoisesLight:
    """Returns the model of the files; the same weights on every backend."""
    model = MoisesLight(**ARGUMENTS, **VARIANTS[variant], name="golden")
    model.build((None, None, 2))
    return randomize(model, seed=3)


def golden_result(variant: str, mixture: np.ndarray) -> np.ndarray:
    """Returns what the model makes of a mixture; `training` normalises with the statistics of the batch."""
    model = golden_model(variant)
    return compute(lambda audio: model(audio, training=variant == "training"), mixture)


if __name__ == "__main__":
    mixture = np.random.default_rng(0).uniform(-1, 1, (2, 600, 2)).astype("float32")
    outputs = {variant: golden_result(variant, mixture) for variant in VARIANTS}
    np.savez_compressed(FOLDER / "moises_light.npz", mixture=mixture, **outputs)
    golden_model("mask").save(FOLDER / "moises_light.keras")
    print(f"written on {keras.backend.backend()}", {name: float(np.abs(value).max()) for name, value in outputs.items()})

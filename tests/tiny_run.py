"""A run that takes seconds: a small model, a few songs of noise, and the command that trains it."""

import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from kseparation.config import RunConfig, load_config
from kseparation.data import SegmentBatches
from tests.songs import SAMPLE_RATE, STEMS, write_songs

# A shell that starts the tests in the background has its children ignore Ctrl-C.
_PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kseparation.cli.main import main
from kseparation.models import MODELS
from tests.tiny_run import hold_a_batch
from tests.tiny_separator import TinySeparator
MODELS["tiny_separator"] = TinySeparator
hold_a_batch()
sys.exit(main())
"""
COMMAND = (sys.executable, "-c", _PROGRAM, "train")


MODEL = {
    "name": "moises_light",
    **{"window_samples": 512, "hop_samples": 128, "bins": 192, "width": 8, "levels": 1, "convolutions": 1, "transformers": 1},
}


def write_config(folder: Path, model=MODEL, **training) -> Path:
    """Writes `tiny.yaml` and its songs into `folder`; `training` replaces values of that section."""
    root = folder / "songs"
    if not root.exists():
        write_songs(root, {"train": {"a": 3000, "b": 2500}, "validation": {"v": 2000}})
    config = {
        "data": {"name": "track_folder", "root": str(root), "stems": [*STEMS], "sample_rate": SAMPLE_RATE, "segment_seconds": 0.1, "workers": 2},
        "model": dict(model),
        "loss": [
            {"name": "waveform_l1", "weight": 10.0},
            {"name": "multi_resolution_complex_stft", "windows": [256, 128], "hop_samples": 64, "minimum_fft_size": 1},
        ],
        "training": {
            **{"epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "warmup_steps": 2, "ema": 0.9},
            # Compiling takes longer than all the steps, and only on one backend are they slower without it.
            "jit_compile": "auto" if keras.backend.backend() == "jax" else False,
            **training,
        },
        "logging": {"every_n_steps": 1, "tensorboard": False},
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def tiny_config(folder: Path, overrides=(), model=MODEL, **training) -> RunConfig:
    """Returns the config of `write_config` with overrides as the command line takes them."""
    return load_config(write_config(folder, model, **training), overrides)


def rows(run: Path, *kinds: str) -> list[dict]:
    """Events of the log of a run, of these kinds or all."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if not kinds or row["kind"] in kinds]


def child_environment() -> dict[str, str]:
    """Environment of a child process: the package of this tree, the backend of this process, one thread."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    root = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "KERAS_BACKEND": keras.backend.backend(), **dict.fromkeys(names, "1")}


def hold_a_batch() -> None:
    """Withholds the batch that the environment names, (epoch, index), until its file exists: the training cannot get ahead of a test."""
    named = os.environ.get("KSEPARATION_TEST_HOLD")
    if named is None:
        return
    epoch, index, file = named.split(":", 2)
    batch = SegmentBatches.batch

    def held(self, *which):
        while which[:2] == (int(epoch), int(index)) and not Path(file).exists():
            time.sleep(0.01)
        return batch(self, *which)

    SegmentBatches.batch = held


def poison(monkeypatch: pytest.MonkeyPatch, first: int, count: int, draws: Collection[int] | None = None) -> None:
    """Makes `count` batches of the first epoch bad in their stems, from batch `first` on; in these draws of their examples, or in all."""
    sound = SegmentBatches.batch

    def batch(self, epoch, index, draw=0):
        mixtures, stems = sound(self, epoch, index, draw)
        if epoch == 0 and first <= index < first + count and (draws is None or draw in draws):
            stems[0, 0, 5, 0] = np.nan
        return mixtures, stems

    monkeypatch.setattr(SegmentBatches, "batch", batch)

"""A small Moises-Light in plain `model.fit`, which goes on as the documentation of Keras has it; `benchmarks/resume.py` kills it.

    python -m tests.plain_keras METHOD FOLDER EPOCHS
"""

import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from tests.songs import SAMPLE_RATE, STEMS

STEPS, ACCUMULATE, BATCH, SEGMENT = 12, 2, 2, 800
MODEL = {"window_samples": 512, "hop_samples": 128, "bins": 192, "width": 8, "levels": 1, "convolutions": 1, "transformers": 1, "dropout": 0.1}
METHODS = ("backup_each_epoch", "backup_each_7_batches", "model_checkpoint")


def train_plainly(method: str, folder: Path, epochs: int) -> None:
    """Trains in this process, as the documentation of Keras has it."""
    import keras

    from kseparation.losses import Objective, WaveformL1
    from kseparation.models import MODELS

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return STEPS * ACCUMULATE

        def __getitem__(self, index):
            stems = np.random.default_rng(index).uniform(-0.4, 0.4, (BATCH, len(STEMS), SEGMENT, 2)).astype("float32")
            return stems.sum(axis=1), stems

    class Log(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.begin, self.epochs = time.monotonic(), 0
            self.file = open(folder / "losses.log", "a", buffering=1)

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch, self.epochs = epoch, self.epochs + 1

        def on_train_batch_end(self, batch, logs=None):
            self.file.write(f"{self.epoch} {batch} {float(logs['total']).hex()}\n")

    keras.utils.set_random_seed(0)
    saved = kill_in_save(keras.Model, "save" if method == "model_checkpoint" else "save_weights")
    files = sorted((folder / "models").glob("*.keras"))
    if method == "model_checkpoint" and files:
        model = keras.saving.load_model(files[-1])
    else:
        model = MODELS["moises_light"](stems=STEMS, sample_rate=SAMPLE_RATE, channels=2, segment_samples=SEGMENT, **MODEL)
        model.build((None, None, 2))
        optimizer = keras.optimizers.AdamW(5e-4, gradient_accumulation_steps=ACCUMULATE, use_ema=True, ema_momentum=0.95)
        model.compile(optimizer, loss=Objective({"waveform_l1": WaveformL1()}), jit_compile=keras.backend.backend() == "jax", auto_scale_loss=False)
    (folder / "models").mkdir(exist_ok=True)
    keep = {
        "backup_each_epoch": lambda: keras.callbacks.BackupAndRestore(str(folder / "backup")),
        "backup_each_7_batches": lambda: keras.callbacks.BackupAndRestore(str(folder / "backup"), save_freq=7),
        "model_checkpoint": lambda: keras.callbacks.ModelCheckpoint(str(folder / "models" / "{epoch:04d}.keras")),
    }[method]()
    log, first = Log(), int(files[-1].stem) if files else 0
    model.fit(Batches(), epochs=epochs, initial_epoch=first, shuffle=False, verbose=0, callbacks=[log, keep])
    seconds = (time.monotonic() - log.begin) / max(1, log.epochs)
    weights = hashlib.sha256(b"".join(keras.ops.convert_to_numpy(variable).tobytes() for variable in model.weights)).hexdigest()
    loss = float(model.evaluate(Batches(), verbose=0, return_dict=True)["total"])
    end = {"loss": loss, "weights": weights, "epoch_seconds": seconds, "save_seconds": float(np.mean(saved)) if saved else 0.0}
    (folder / "end.json").write_text(json.dumps(end))


def kill_in_save(owner: type, method: str) -> list[float]:
    """Notes the seconds of each save; has this process die in one where KILL_IN_SAVE says so."""
    real, seconds = getattr(owner, method), []
    which, after = os.environ.get("KILL_IN_SAVE", "-1:0").split(":")

    def watched(self, *arguments, **named):
        if len(seconds) == int(which):
            threading.Timer(float(after), os.kill, (os.getpid(), 9)).start()
        begin = time.monotonic()
        real(self, *arguments, **named)
        seconds.append(time.monotonic() - begin)

    setattr(owner, method, watched)
    return seconds


if __name__ == "__main__":
    train_plainly(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

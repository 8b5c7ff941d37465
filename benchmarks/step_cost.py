"""For `faults.py`: seconds of a training step with and without what watches it."""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from kseparation.config import load_config
from kseparation.storage.checkpoints import CheckpointStore
from kseparation.training.feeding import fit_input
from kseparation.training.recovery import RecoveryPolicy
from kseparation.training.run_callbacks import LogSteps
from kseparation.training.run_log import RunLog
from kseparation.training.safety_callbacks import TerminateOnNonFinite
from kseparation.training.snapshots import Snapshots
from kseparation.training.spikes import SpikeDetector
from kseparation.training.state import read_state
from kseparation.training.watch_steps import WatchSteps
from kseparation.workflows.build import build_model, build_objective, build_optimizer
from kseparation.workflows.train import compiled_model

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# A batch of one: the watching costs the same for any batch, so that this is where it weighs most.
CASES = {
    "moises_light_small": (CONFIGS / "separation" / "moises_light_small.yaml", ["data.segment_seconds=1.5", "training.batch_size=1", "training.dtype_policy=float32"]),
    "demo": (CONFIGS / "demo" / "separation.yaml", []),
}
# Of which the first is not counted, with what `fit` does before it.
STEPS = 4
MOST_STEPS = 1_000_000


class StepCost:
    """Two models of one config: compiled with Keras' own optimizer, and as `train` compiles it; they train in turns on the same batch.

    Both clip the gradients, average the weights, log every part of the loss, and read the log of each step, as any training that is looked at does.

    Args:
        case: of CASES.
    """

    def __init__(self, case: str):
        path, overrides = CASES[case]
        config = load_config(path, overrides)
        self.snapshot_every_steps = config.safety.snapshot_every_steps
        self.bare, self.watched = self._bare(config), compiled_model(config)
        draw = np.random.default_rng(0)
        shape = (config.training.batch_size, len(config.data.stems), self.bare.segment_samples, config.data.channels)
        stems = draw.uniform(-0.3, 0.3, shape).astype("float32")
        self.batch = stems.sum(axis=1), stems
        self.shapes = tuple(part.shape[1:] for part in self.batch)
        self._folder = tempfile.TemporaryDirectory(prefix="kseparation-step-cost-")
        self._store, self._saves = CheckpointStore(Path(self._folder.name) / "states"), 0
        steps = LogSteps(RunLog(self._folder.name), MOST_STEPS, 1, 0, 10, 1)
        watch = WatchSteps(
            steps, TerminateOnNonFinite(), SpikeDetector(), Snapshots(MOST_STEPS), RecoveryPolicy(), lambda *arguments: None, lambda: ()
        )
        self.callbacks = [steps, TerminateOnNonFinite(), watch]
        for _ in range(2):  # compiles
            self.pair(False)

    @staticmethod
    def _bare(config):
        model, guarded = build_model(config), build_optimizer(config)
        inner = guarded.inner_optimizer.get_config() | {"learning_rate": 1e-4, "global_clipnorm": config.training.clip_norm, "use_ema": True, "ema_momentum": 0.999}
        jit, optimizer = keras.backend.backend() in ("tensorflow", "jax"), type(guarded.inner_optimizer).from_config(inner)
        # At the end of `fit` Keras puts the averages in the place of the weights, and on JAX finds none there at the second time.
        optimizer.finalize_variable_values = lambda variables: None
        model.compile(optimizer, loss=build_objective(config, model.objective_names()), jit_compile=jit, auto_scale_loss=False)
        return model

    def pair(self, turned: bool) -> tuple[float, float]:
        """Returns seconds of a step without and with; `turned` takes that with first, so that neither has always the colder cache or the later clock."""
        return self._in_turn(lambda: self._seconds(self.bare, [_Read()]), lambda: self._seconds(self.watched, self.callbacks), turned)

    def noise_pair(self, turned: bool) -> tuple[float, float]:
        """Returns seconds of a step without twice, measured as a pair: what differs is noise."""
        return self._in_turn(lambda: self._seconds(self.bare, [_Read()]), lambda: self._seconds(self.bare, [_Read()]), turned)

    @staticmethod
    def _in_turn(first, second, turned):
        if not turned:
            return first(), second()
        later = second()
        return first(), later

    def _seconds(self, model, callbacks):
        source, clock = (self.batch for _ in range(STEPS)), _Clock()
        model.fit(fit_input(source, self.shapes), steps_per_epoch=STEPS, epochs=1, shuffle=False, verbose=0, callbacks=[*callbacks, clock])
        return (clock.times[-1] - clock.times[0]) / (STEPS - 1)

    def snapshot_seconds(self) -> float:
        """Returns the seconds of one copy of the whole state, and of its way to the disk, with all proofs of a checkpoint."""
        start = time.perf_counter()
        arrays, self._saves = read_state(self.watched), self._saves + 1
        self._store.save(self._saves, arrays, {})
        return time.perf_counter() - start


class _Clock(keras.callbacks.Callback):
    """Notes the end of each step, after all other callbacks."""

    def __init__(self):
        super().__init__()
        self.times = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())


class _Read(keras.callbacks.Callback):
    """Reads the loss of each step, as a progress bar does."""

    def on_train_batch_end(self, batch, logs=None):
        {name: float(value) for name, value in logs.items()}

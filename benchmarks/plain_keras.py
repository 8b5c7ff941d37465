"""For `faults.py`: faults in a training by plain `model.fit` with Adam."""

import keras
import numpy as np
from keras import ops

from kseparation.losses import LOSSES
from kseparation.models import MODELS
from kseparation.training.faults import FAULTS as ALL
from kseparation.training.faults.injection import InjectedBatches
from kseparation.training.feeding import fit_input

STEPS, STEP = 160, 80
SAMPLES, BATCH = 800, 2
FAULTS = ("gain_infinite", "layer_infinite", "gradient_nan", "bit_flip", "slot_nan", "learning_rate", "loss_spike")


class _Tones:
    """Batches of two stems that can be told apart: low tones and high ones."""

    def batch(self, epoch, index, draw=0):
        generator = np.random.default_rng([epoch, index])
        pitch = generator.uniform((100, 1500), (500, 3000), (BATCH, 2)) / 8000
        phase = 2 * np.pi * generator.uniform(size=(BATCH, 2, 2))
        wave = np.sin(2 * np.pi * pitch[..., None, None] * np.arange(SAMPLES)[:, None] + phase[:, :, None])
        stems = (0.4 * wave).astype("float32")
        return stems.sum(axis=1), stems


class _Injected(keras.callbacks.Callback):
    """Faults between two steps, and the losses of all steps by themselves."""

    def __init__(self, fault):
        super().__init__()
        self.fault, self.losses, self._sum = fault, [], 0.0

    def on_train_batch_end(self, batch, logs=None):
        # What Keras logs is the mean since the beginning.
        total = float(logs["loss"]) * (batch + 1)
        self.losses.append(total - self._sum)
        self._sum = total
        step = batch + 2
        rate = self.model.optimizer.learning_rate
        if type(self.fault).__name__ == "LearningRate":
            if step in (STEP, STEP + self.fault.steps):
                rate.assign(ops.convert_to_tensor(rate) * (self.fault.factor if step == STEP else 1 / self.fault.factor))
        elif not self.fault.repeats:
            self.fault.before_step(self.model, step)


def train_plainly(name: str, model_config: dict, stops: bool) -> dict:
    """Trains with one fault; returns how many steps there were, how many weights are not finite at the end, and the loss before the fault and at the end."""
    keras.utils.set_random_seed(0)
    arguments = {key: value for key, value in model_config.items() if key != "name"}
    model = MODELS[model_config["name"]](stems=("a", "b"), sample_rate=8000, channels=2, segment_samples=SAMPLES, **arguments)
    model.build((None, None, 2))
    optimizer = keras.optimizers.Adam(2e-3, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    # Slots are looked for where the guarded optimizer has them.
    object.__setattr__(optimizer, "inner_optimizer", optimizer)
    model.compile(optimizer, loss=LOSSES["waveform_l1"](), jit_compile=keras.backend.backend() == "jax")
    fault = ALL[name](step=STEP)
    if name == "loss_spike":
        _spike(model, fault)
    else:
        fault.change_model(model)
    batches = InjectedBatches(_Tones(), [fault], 1, STEPS)
    injected = _Injected(fault)
    callbacks = [injected, *([keras.callbacks.TerminateOnNaN()] if stops else [])]
    source = (batches.batch(0, index) for index in range(STEPS))
    spec = keras.KerasTensor((None, SAMPLES, 2)), keras.KerasTensor((None, 2, SAMPLES, 2))
    model.fit(fit_input(source, spec), steps_per_epoch=STEPS, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    weights = [ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    lost = sum(int(not np.isfinite(weight).all()) for weight in weights)
    losses = injected.losses
    return {"steps": len(losses), "lost": lost, "weights": len(weights), "before": float(np.mean(losses[STEP - 11 : STEP - 1])), "after": float(np.mean(losses[-10:]))}


def _spike(model, fault):
    """A plain loss has no parts: the fault multiplies the whole of it."""
    from kseparation.training.faults.injection import is_marked

    loss = model.loss

    def spoiled(y_true, y_pred):
        return loss(y_true, y_pred) * ops.where(is_marked(ops.convert_to_tensor(y_true)), fault.factor, 1.0)

    model.compile(model.optimizer, loss=spoiled, jit_compile=keras.backend.backend() == "jax")

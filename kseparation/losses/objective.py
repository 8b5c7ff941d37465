"""The sum that a training minimises, with a name for each of its parts."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from kseparation.errors import did_you_mean


@keras.saving.register_keras_serializable("kseparation")
class Objective(keras.losses.Loss):
    """Weighted sum of losses whose parts are logged by name.

    A loss with a method `parts(y_true, y_pred)` and the list `part_names` of its keys appears as one part for each, `<loss>/<key>`. The logged values are weighted:
    they add up to the total. A loss of weight 0 is logged as it is and does not count.

    Args:
        losses: the losses by the name under which they are logged.
        weights: weight of each loss by the same names, not negative; those not named count once.
        schedules: `(start_step, ramp_steps)` by the same names: the loss counts from that optimizer step on, and its weight rises to the full in so many. Those not named
            count from the first step. Outside a training, as in a validation, all weights are full.
        alone: whether nothing else is added to it, so that one of the losses must count from the first step on.

    Shapes: `y_true`, `y_pred` as the losses take them; the result is a float32 scalar.
    """

    def __init__(self, losses: Mapping[str, keras.losses.Loss], weights: Mapping[str, float] | None = None, schedules: Mapping[str, tuple[int, int]] | None = None, alone: bool = True, name: str = "objective", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        if not losses:
            raise ValueError(f"`losses` needs at least one loss. Received: losses={losses}")
        weights, schedules = dict(weights or {}), dict(schedules or {})
        for argument, given in (("weights", weights), ("schedules", schedules)):
            for unknown in set(given) - set(losses):
                raise ValueError(f"`{argument}` names a loss that is not there. Received: {unknown}. {did_you_mean(unknown, losses)}")
        for key, steps in schedules.items():
            if len(steps) != 2 or min(steps) < 0:
                raise ValueError(f"A schedule is two numbers of steps from 0 on. Received: schedules[{key}]={steps}")
        for key, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"A weight must be a number from 0 on. Received: weights[{key}]={weight}")
        if alone and not any(weights.get(key, 1.0) for key in losses):
            raise ValueError("At least one loss needs a weight above 0, else nothing is trained.")
        self.alone = alone
        self.losses = dict(losses)
        self.weights = {key: float(weights.get(key, 1.0)) for key in losses}
        self.schedules = {key: tuple(steps) for key, steps in schedules.items() if any(steps)}
        if alone and all(key in self.schedules and self.schedules[key][0] for key, weight in self.weights.items() if weight):
            raise ValueError(f"At least one loss must count from the first step, else nothing is trained until then. Received: schedules={self.schedules}")

    def part_names(self) -> Sequence[str]:
        """Returns the names of all parts in the order of the log."""
        names = []
        for name, loss in self.losses.items():
            keys = getattr(loss, "part_names", ())
            names += [f"{name}/{key}" for key in keys] if len(keys) > 1 else [name]
        return names

    def _weight(self, name, step):
        weight = self.weights[name] or 1.0
        if step is None or name not in self.schedules:
            return weight
        start, ramp = self.schedules[name]
        risen = (ops.cast(step, "float32") - start + 1.0) / max(ramp, 1)
        return weight * ops.clip(risen, 0.0, 1.0)

    def weights_change(self, step: int) -> bool:
        """Returns whether a part begins or rises in an optimizer step, numbered from 1: what comes after cannot be compared with what was before."""
        return any(start < step <= start + max(ramp, 1) for start, ramp in self.schedules.values())

    def parts(self, y_true, y_pred, step=None):
        """Returns each part as it is logged, a float32 scalar: `{name: value}`.

        Args:
            y_true: the references.
            y_pred: what the model gave.
            step: number of optimizer steps made before, for the schedules; None gives all their full weight.
        """
        parts = {}
        for name, loss in self.losses.items():
            weight = self._weight(name, step)
            values = loss.parts(y_true, y_pred) if hasattr(loss, "parts") else {"": loss.call(y_true, y_pred)}
            for key, value in values.items():
                parts[f"{name}/{key}" if len(values) > 1 else name] = weight * ops.mean(value)
        return parts

    def total(self, parts):
        """Returns the sum of the parts that count, of those that `parts` gave."""
        return sum(value for name, value in parts.items() if self.weights[name if name in self.weights else name.rsplit("/", 1)[0]])

    def __call__(self, y_true, y_pred, sample_weight=None):
        return self.total(self.parts(y_true, y_pred))

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def get_config(self):
        losses = {name: keras.saving.serialize_keras_object(loss) for name, loss in self.losses.items()}
        return {"losses": losses, "weights": self.weights, "schedules": self.schedules, "alone": self.alone, "name": self.name}

    @classmethod
    def from_config(cls, config):
        losses = {name: keras.saving.deserialize_keras_object(loss) for name, loss in config["losses"].items()}
        return cls(**{**config, "losses": losses})

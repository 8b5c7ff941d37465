"""Rules for the largest norm that all gradients together may have."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kseparation")
class FixedNorm:
    """The same limit at every step.

    Args:
        norm: largest global norm, above 0.
    """

    history_steps = 1

    def __init__(self, norm: float = 1.0):
        if not norm > 0:
            raise ValueError(f"`norm` must be positive. Received: norm={norm}")
        self.norm = norm

    def limit(self, history, seen, norm):
        """Returns the limit for this step; see `PercentileNorm.limit`."""
        return ops.convert_to_tensor(self.norm, dtype="float32")

    def get_config(self):
        return {"norm": self.norm}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("kseparation")
class PercentileNorm:
    """A limit that follows the training: a percentile of the norms of the last steps.

    Nobody knows beforehand which norm is large for a model; its own last steps tell. Only finite norms enter the history.

    Args:
        percentile: 0 to 100; at 10, nine of ten steps are clipped to the norm of the gentlest tenth.
        history_steps: number of steps remembered.

    References: Seetharaman et al. 2020, AutoClip: adaptive gradient clipping for source separation networks (arXiv 2007.14469).
    """

    def __init__(self, percentile: float = 10.0, history_steps: int = 1000):
        if not 0 <= percentile <= 100:
            raise ValueError(f"`percentile` must lie between 0 and 100. Received: percentile={percentile}")
        if history_steps < 1:
            raise ValueError(f"`history_steps` must be at least 1. Received: history_steps={history_steps}")
        self.percentile = percentile
        self.history_steps = history_steps

    def limit(self, history, seen, norm):
        """Returns the limit for this step, a scalar.

        Args:
            history: norms of the last steps, `(history_steps,)`, in no order; slots not yet used hold 0.
            seen: how many finite norms have been seen, this step's included; scalar.
            norm: of this step's gradients; already in the history where it is finite.
        """
        filled = ops.minimum(ops.cast(seen, "float32"), float(self.history_steps))
        # Norms are not negative, so unused slots sort in front and the percentile is taken over the rest.
        ascending = ops.sort(history)
        place = (self.history_steps - filled) + self.percentile / 100.0 * ops.maximum(filled - 1.0, 0.0)
        index = ops.cast(ops.minimum(ops.floor(place), float(self.history_steps - 1)), "int32")
        return ops.where(filled > 0, ops.take(ascending, index), norm)

    def get_config(self):
        return {"percentile": self.percentile, "history_steps": self.history_steps}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

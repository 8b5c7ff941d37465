"""The global SDR as a streaming Keras metric, for `model.fit` and `model.evaluate`."""

from typing import Any

import keras
from keras import ops

from kseparation.metrics.global_sdr import DELTA


@keras.saving.register_keras_serializable("kseparation")
class GlobalSDRMetric(keras.metrics.Metric):
    """Mean over all batch items of the SDR of a segment, in dB.

    Each item is scored by `10 log10((sum s^2 + 1e-7) / (sum (s - e)^2 + 1e-7))` over its samples and channels. It
    shows during training whether the stems get cleaner; 0 dB is an output of silence. Short segments often hold
    silent stems, which score far below zero, so the value is not comparable with the whole-track score of `evaluate`.

    Args:
        stem_index: position of the stem to score, from 0; None (default) takes the mean over all stems.
        name: key in the logs.
        dtype: of the state. Defaults to float32, whatever the dtype policy.

    Input shape:
        `y_true` and `y_pred` `(batch, stems, samples, channels)`, `sample_weight` None or `(batch,)`.

    Example:

    >>> metric = GlobalSDRMetric()
    >>> metric.update_state(keras.ops.ones((1, 4, 100, 2)), 0.9 * keras.ops.ones((1, 4, 100, 2)))
    >>> round(float(metric.result()), 2)
    20.0
    """

    def __init__(self, stem_index: int | None = None, name: str = "sdr_global", dtype: Any = "float32") -> None:
        super().__init__(name=name, dtype=dtype)
        if stem_index is not None and stem_index < 0:
            raise ValueError(f"`stem_index` must not be negative. Received: stem_index={stem_index}")
        self.stem_index = stem_index
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")
        self.weight = self.add_variable(shape=(), initializer="zeros", name="weight")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds the scores of one batch."""
        # Sums of squares overflow or lose digits in half precision.
        y_true = ops.cast(y_true, "float32")
        y_pred = ops.cast(y_pred, "float32")
        if self.stem_index is not None:
            index, stems = self.stem_index, y_true.shape[1]
            if stems is not None and index >= stems:  # an empty slice has the mean NaN
                raise ValueError(f"`stem_index` must be less than the number of stems, {stems}. Received: stem_index={index}")
            y_true, y_pred = y_true[:, index : index + 1], y_pred[:, index : index + 1]
        signal = ops.sum(ops.square(y_true), axis=(2, 3))
        error = ops.sum(ops.square(y_true - y_pred), axis=(2, 3))  # (batch, stems)
        sdr = ops.mean(10.0 * ops.log10((signal + DELTA) / (error + DELTA)), axis=1)  # (batch,)
        sample_weight = ops.ones_like(sdr) if sample_weight is None else ops.cast(sample_weight, "float32")
        weights = ops.reshape(sample_weight, (-1,))
        self.total.assign_add(ops.cast(ops.sum(sdr * weights), self.dtype))
        self.weight.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def result(self) -> Any:
        """Returns the mean in dB, 0 before the first batch."""
        return ops.divide_no_nan(self.total, self.weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stem_index": self.stem_index}

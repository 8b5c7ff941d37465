"""Mean absolute difference of waveforms."""

import keras
from keras import ops


def waveform_l1(y_true, y_pred):
    """Mean absolute difference over stems, samples and channels.

    Args:
        y_true: `(batch, stems, samples, channels)`.
        y_pred: the same shape.

    Returns:
        `(batch,)`.
    """
    difference = ops.cast(y_pred, "float32") - ops.cast(y_true, "float32")
    return ops.mean(ops.absolute(difference), axis=(1, 2, 3))


@keras.saving.register_keras_serializable("kseparation")
class WaveformL1(keras.losses.Loss):
    """Mean absolute difference of waveforms: every sample counts alike, so that loud passages lead and silence is never undefined."""

    def __init__(self, name: str = "waveform_l1", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})

    def call(self, y_true, y_pred):
        return waveform_l1(y_true, y_pred)

    def get_config(self):
        return {"name": self.name}

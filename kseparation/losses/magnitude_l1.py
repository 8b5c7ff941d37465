"""Mean absolute difference of magnitude spectra."""

import keras
from keras import ops

from kseparation.ops.magnitude import safe_magnitude
from kseparation.ops.stft import stft


@keras.saving.register_keras_serializable("kseparation")
class MagnitudeL1(keras.losses.Loss):
    """Mean absolute difference of the magnitudes at one window length, the loss of the classical mask networks.

    Args:
        window_samples: STFT window in samples.
        hop_samples: distance between frames in samples.

    Shapes: `y_true`, `y_pred` `(batch, stems, samples, channels)`; result `(batch,)`, float32.

    References: Jansson et al. 2017, Singing voice separation with deep U-Net convolutional networks (ISMIR), eq. 1.
    """

    def __init__(self, window_samples: int = 4096, hop_samples: int = 1024, name: str = "magnitude_l1", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        if window_samples < 2 or not 1 <= hop_samples <= window_samples:
            raise ValueError(
                f"`window_samples` must be at least 2 and `hop_samples` lie between 1 and the window. Received: window_samples={window_samples}, hop_samples={hop_samples}"
            )
        self.window_samples = window_samples
        self.hop_samples = hop_samples

    @property
    def least_samples(self) -> int:
        """Shortest segment that the loss is meant for, a quarter of a frame."""
        return -(-self.window_samples // 4)

    def call(self, y_true, y_pred):
        transform = {"window_samples": self.window_samples, "hop_samples": self.hop_samples, "beyond_end": False}
        true, pred = (safe_magnitude(*stft(ops.transpose(ops.cast(audio, "float32"), (0, 1, 3, 2)), **transform)) for audio in (y_true, y_pred))
        return ops.mean(ops.absolute(pred - true), axis=(1, 2, 3, 4))

    def get_config(self):
        return {"window_samples": self.window_samples, "hop_samples": self.hop_samples, "name": self.name}

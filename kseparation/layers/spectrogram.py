"""Layers from waveform to spectrum and back."""

import keras
from keras import ops

from kseparation.errors import did_you_mean
from kseparation.ops.stft import STRATEGIES, frame_count, inverse_stft, stft


class _Transform(keras.layers.Layer):
    def __init__(self, window_samples: int, hop_samples: int, fft_size: int | None = None, strategy: str = "fft", **kwargs):
        # Half precision would overflow on a full-scale tone and lose every guard against silence.
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if window_samples < 2:
            raise ValueError(f"`window_samples` must be at least 2. Received: window_samples={window_samples}")
        if not 1 <= hop_samples <= window_samples // 2:
            raise ValueError(
                "`hop_samples` must lie between 1 and half the window, or the transform cannot be inverted. "
                f"Received: hop_samples={hop_samples}, window_samples={window_samples}"
            )
        if fft_size is not None and fft_size < window_samples:
            raise ValueError(f"`fft_size` must be at least `window_samples`={window_samples}. Received: fft_size={fft_size}")
        if strategy not in STRATEGIES:
            raise ValueError(f"`strategy` is unknown. Received: strategy={strategy}. {did_you_mean(strategy, STRATEGIES)}")
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.fft_size = fft_size or window_samples
        self.strategy = strategy

    def get_config(self):
        config = super().get_config()
        config.update(
            window_samples=self.window_samples, hop_samples=self.hop_samples, fft_size=self.fft_size, strategy=self.strategy
        )
        return config


@keras.saving.register_keras_serializable("kseparation")
class STFT(_Transform):
    """Splits audio into short overlapping frames and each frame into its frequencies.

    Periodic Hann window, edges reflected, no scaling; always float32. `InverseSTFT` with the same arguments restores every sample.

    Args:
        window_samples: length of the window in samples, at least 2.
        hop_samples: distance between two frames in samples, from 1 to half the window; it need not divide the window.
        fft_size: length of the transform in samples; defaults to the window.
        strategy: `"fft"` (default) or `"matmul"`, which multiplies by two constant matrices instead.

    Input shape: `(batch, samples, channels)`, any length from one sample.

    Output shape: real and imaginary part, each `(batch, frames, bins, channels)` with `bins = fft_size // 2 + 1` and
    `frames = 1 + samples // hop_samples` (rounded up where the hop exceeds a third of the window, see `kseparation.ops.stft.frame_count`).

    Example:

    >>> import numpy as np
    >>> real, imag = STFT(2048, 512)(np.zeros((1, 44100, 2), "float32"))
    >>> tuple(real.shape)
    (1, 87, 1025, 2)
    """

    def call(self, audio):
        signal = ops.transpose(audio, (0, 2, 1))
        real, imag = stft(signal, self.window_samples, self.hop_samples, self.fft_size, self.strategy)
        return ops.transpose(real, (0, 2, 3, 1)), ops.transpose(imag, (0, 2, 3, 1))

    def compute_output_shape(self, audio_shape):
        batch, samples, channels = audio_shape
        frames = None if samples is None else frame_count(samples, self.window_samples, self.hop_samples)
        shape = (batch, frames, self.fft_size // 2 + 1, channels)
        return shape, shape


@keras.saving.register_keras_serializable("kseparation")
class InverseSTFT(_Transform):
    """Turns a spectrum back into audio, exact at every sample where the spectrum came from `STFT`.

    Args:
        window_samples: as given to `STFT`.
        hop_samples: as given to `STFT`.
        fft_size: as given to `STFT`.
        strategy: `"fft"` or `"matmul"`.

    Call arguments:
        real: `(batch, frames, bins, channels)`.
        imag: `(batch, frames, bins, channels)`.
        samples: length of the result in samples; defaults to `(frames - 1) * hop_samples`.

    Output shape: `(batch, samples, channels)`.

    Example:

    >>> import numpy as np
    >>> audio = np.random.default_rng(0).standard_normal((1, 1000, 2)).astype("float32")
    >>> real, imag = STFT(256, 64)(audio)
    >>> restored = InverseSTFT(256, 64)(real, imag, samples=1000)
    >>> bool(np.abs(keras.ops.convert_to_numpy(restored) - audio).max() < 1e-5)
    True
    """

    def call(self, real, imag, samples=None):
        real, imag = ops.transpose(real, (0, 3, 1, 2)), ops.transpose(imag, (0, 3, 1, 2))
        signal = inverse_stft(real, imag, self.window_samples, self.hop_samples, samples, self.fft_size, self.strategy)
        return ops.transpose(signal, (0, 2, 1))

    def compute_output_shape(self, real_shape, imag_shape=None, samples=None):
        batch, frames, _, channels = real_shape
        if samples is None and frames is not None:
            samples = (frames - 1) * self.hop_samples
        return batch, samples, channels

    def compute_output_spec(self, real, imag, samples=None):
        # Keras derives this from the shapes only where every argument is a tensor.
        shape = list(self.compute_output_shape(real.shape, imag.shape, samples))
        if samples is not None and not isinstance(samples, int):
            shape[1] = None
        return keras.KerasTensor(shape, dtype="float32")

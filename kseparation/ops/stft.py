"""Short-time Fourier transform and its exact inverse, the same numbers on every backend.

`keras.ops.istft` differs between backends in the first and last half window, refuses half precision and fails on short signals, so the transform is
built here from frames, `rfft` and `irfft` (strategy `"fft"`), or from two constant matrices (strategy `"matmul"`, for targets without an FFT).
Complex numbers travel as a pair (real, imag). All of it is float32, whatever the dtype policy.
"""

import functools

import numpy as np
from keras import ops

from kseparation.ops.frames import add_frames, cut_frames, length_of, reflect_pad

STRATEGIES = ("fft", "matmul")


def hann_window(window_samples: int, fft_size: int | None = None) -> np.ndarray:
    """Returns the periodic Hann window, float32 `(fft_size,)`, centred between zeros where `fft_size` is larger than the window."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    fft_size = fft_size or window_samples
    before = (fft_size - window_samples) // 2
    return np.pad(window, (before, fft_size - window_samples - before)).astype("float32")


def frame_count(samples, window_samples: int, hop_samples: int):
    """Returns the number of frames of a signal: frames are centred on samples 0, hop, 2 hop, ...

    One frame stands on each hop up to the end, `1 + samples // hop`, as in the tools of the field. Where the hop exceeds a third of the window, the
    last samples would lie under the foot of the last window: unless it ends on a hop, one more frame follows, so that the inverse stays well conditioned.
    """
    if 3 * hop_samples > window_samples:
        return 1 + (samples + hop_samples - 1) // hop_samples
    return 1 + samples // hop_samples


def stft(
    signal,
    window_samples: int,
    hop_samples: int,
    fft_size: int | None = None,
    strategy: str = "fft",
    center: bool = True,
    beyond_end: bool = True,
):
    """Short-time Fourier transform over the last axis, with periodic Hann window, reflected edges and no scaling.

    Args:
        signal: `(..., samples)`, float, at least one sample.
        window_samples: length of the window in samples.
        hop_samples: distance between two frames in samples, 1 to half the window.
        fft_size: length of the transform; defaults to the window. A longer one interpolates the spectrum.
        strategy: `"fft"` or `"matmul"` (two constant matrices, for compilers and devices without an FFT).
        center: frame k is centred on sample `k * hop_samples`, edges reflected. Otherwise it starts there, only full frames count, and the signal must be at
            least `fft_size` long.
        beyond_end: the frames of `frame_count`, from which the inverse is exact; else `1 + samples // hop_samples`, as other tools have.

    Returns:
        Real and imaginary part, each float32 `(..., frames, fft_size // 2 + 1)`.

    Example:

    >>> import numpy as np
    >>> real, imag = stft(np.zeros((2, 44100), "float32"), 2048, 512)
    >>> tuple(real.shape)
    (2, 87, 1025)
    """
    fft_size = fft_size or window_samples
    signal = ops.cast(signal, "float32")
    if not center:
        frames = 1 + (length_of(signal, -1) - fft_size) // hop_samples
        return _transform(cut_frames(signal, fft_size, hop_samples, frames), window_samples, fft_size, strategy)
    samples = length_of(signal, -1)
    frames = frame_count(samples, window_samples, hop_samples) if beyond_end else 1 + samples // hop_samples
    # Half a transform at both ends centres frame k on sample k * hop; the extra hop is for the frame beyond the end.
    after = fft_size - fft_size // 2 + (hop_samples if 3 * hop_samples > window_samples else 0)
    padded = reflect_pad(signal, fft_size // 2, after)
    return _transform(cut_frames(padded, fft_size, hop_samples, frames), window_samples, fft_size, strategy)


def _transform(framed, window_samples, fft_size, strategy):
    """Spectrum of frames `(..., frames, fft_size)`."""
    if strategy == "matmul":
        cosine, sine = _analysis_matrices(window_samples, fft_size)
        return ops.matmul(framed, ops.convert_to_tensor(cosine)), ops.matmul(framed, ops.convert_to_tensor(sine))
    return ops.rfft(framed * ops.convert_to_tensor(hann_window(window_samples, fft_size)), fft_length=fft_size)


def inverse_stft(real, imag, window_samples: int, hop_samples: int, samples=None, fft_size: int | None = None, strategy: str = "fft"):
    """Signal whose short-time Fourier transform is nearest to the given one (Griffin and Lim 1984, equation 6).

    It inverts `stft` exactly at every sample, edges included, because the overlapping windows are divided by their true sum of squares.

    Args:
        real: `(..., frames, fft_size // 2 + 1)`.
        imag: like `real`.
        window_samples: as in `stft`.
        hop_samples: as in `stft`.
        samples: length of the result, int or scalar tensor; defaults to `(frames - 1) * hop_samples`. A signal of that length must have no more frames, as
            `frame_count` counts them.
        fft_size: as in `stft`.
        strategy: as in `stft`.

    Returns:
        float32 `(..., samples)`.
    """
    fft_size = fft_size or window_samples
    frames = length_of(real, -2)
    samples = (frames - 1) * hop_samples if samples is None else samples
    if isinstance(frames, int) and isinstance(samples, int) and (needed := frame_count(samples, window_samples, hop_samples)) > frames:
        raise ValueError(f"`samples` must be a length that {frames} frames cover; this one needs {needed}. Received: samples={samples}")
    window = hann_window(window_samples, fft_size)
    real, imag = ops.cast(real, "float32"), ops.cast(imag, "float32")
    if strategy == "matmul":
        cosine, sine = _synthesis_matrices(window_samples, fft_size)
        framed = ops.matmul(real, ops.convert_to_tensor(cosine)) + ops.matmul(imag, ops.convert_to_tensor(sine))
    else:
        # A real signal has no imaginary part at DC and Nyquist; what a mask puts there must not reach the result on any device.
        inner = np.ones(fft_size // 2 + 1, "float32")
        inner[0] = 0.0
        if fft_size % 2 == 0:
            inner[-1] = 0.0
        framed = ops.irfft((real, imag * ops.convert_to_tensor(inner)), fft_length=fft_size) * ops.convert_to_tensor(window)
    start = fft_size // 2
    signal = add_frames(framed, hop_samples)[..., start : start + samples]
    return signal / _window_power(window_samples, fft_size, hop_samples, frames, samples)


def _window_power(window_samples, fft_size, hop_samples, frames, samples):
    """Sum of the squared windows over each sample of the result, `(samples,)`."""
    start = fft_size // 2
    if isinstance(frames, int) and isinstance(samples, int):
        return ops.convert_to_tensor(_static_window_power(window_samples, fft_size, hop_samples, frames, samples))
    squared = ops.convert_to_tensor(hann_window(window_samples, fft_size) ** 2)
    return add_frames(ops.ones((frames, 1)) * squared, hop_samples)[start : start + samples]


@functools.lru_cache(maxsize=4)  # each as long as the signal
def _static_window_power(window_samples, fft_size, hop_samples, frames, samples):
    squared = hann_window(window_samples, fft_size).astype("float64") ** 2
    power = np.zeros((frames - 1) * hop_samples + fft_size)
    for frame in range(frames):
        power[frame * hop_samples : frame * hop_samples + fft_size] += squared
    return power[fft_size // 2 : fft_size // 2 + samples].astype("float32")


def _angles(fft_size):
    # The product of time and bin is reduced modulo the period in integers, so that large angles lose no digits.
    steps = np.outer(np.arange(fft_size), np.arange(fft_size // 2 + 1)) % fft_size
    return 2 * np.pi * steps / fft_size


@functools.lru_cache(maxsize=8)
def _analysis_matrices(window_samples, fft_size):
    window = hann_window(window_samples, fft_size).astype("float64")[:, None]
    angles = _angles(fft_size)
    return (window * np.cos(angles)).astype("float32"), (-window * np.sin(angles)).astype("float32")


@functools.lru_cache(maxsize=8)
def _synthesis_matrices(window_samples, fft_size):
    window = hann_window(window_samples, fft_size).astype("float64")
    weights = np.full((fft_size // 2 + 1, 1), 2.0)
    weights[0] = 1.0
    if fft_size % 2 == 0:
        weights[-1] = 1.0
    angles = _angles(fft_size).T
    scale = weights * window / fft_size
    cosine, sine = scale * np.cos(angles), -scale * np.sin(angles)
    sine[0] = 0.0
    if fft_size % 2 == 0:
        sine[-1] = 0.0
    return cosine.astype("float32"), sine.astype("float32")

"""Short-time Fourier transform in NumPy and float64, from the definition."""

import numpy as np


def padded_window(window_samples: int, fft_size: int) -> np.ndarray:
    """Periodic Hann window in the middle of `fft_size` samples."""
    window = np.sin(np.pi * np.arange(window_samples) / window_samples) ** 2
    before = (fft_size - window_samples) // 2
    return np.pad(window, (before, fft_size - window_samples - before))


def count_frames(samples: int, window_samples: int, hop_samples: int) -> int:
    """One frame on each multiple of the hop up to the end, and one at or beyond the end where the hop exceeds a third of the window."""
    if 3 * hop_samples > window_samples:
        return 1 + -(-samples // hop_samples)
    return 1 + samples // hop_samples


def spectrum(signal, window_samples, hop_samples, fft_size=None, center=True, frames=None):
    """Complex spectrum `(..., frames, bins)` of `(..., samples)`; `frames` replaces their number where they are centred."""
    signal = np.asarray(signal, "float64")
    fft_size = fft_size or window_samples
    samples = signal.shape[-1]
    if center:
        frames = frames or count_frames(samples, window_samples, hop_samples)
        edges = [(0, 0)] * (signal.ndim - 1) + [(fft_size // 2, fft_size + hop_samples)]
        signal = np.pad(signal, edges, mode="reflect")
    else:
        frames = 1 + (samples - fft_size) // hop_samples
    window = padded_window(window_samples, fft_size)
    columns = [np.fft.rfft(signal[..., k * hop_samples : k * hop_samples + fft_size] * window) for k in range(frames)]
    return np.stack(columns, axis=-2)


def nearest_signal(spectrum, window_samples, hop_samples, samples, fft_size=None):
    """Least-squares inverse: sum of windowed frames over the sum of squared windows, cut to `samples`."""
    fft_size = fft_size or window_samples
    window = padded_window(window_samples, fft_size)
    frames = spectrum.shape[-2]
    length = (frames - 1) * hop_samples + fft_size
    total, power = np.zeros((*spectrum.shape[:-2], length)), np.zeros(length)
    for k in range(frames):
        here = slice(k * hop_samples, k * hop_samples + fft_size)
        total[..., here] += np.fft.irfft(spectrum[..., k, :], n=fft_size) * window
        power[here] += window**2
    start = fft_size // 2
    return (total / np.where(power > 0, power, 1))[..., start : start + samples]

"""The transform against its definition in NumPy, against torch, and against itself."""

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kseparation.ops.magnitude import safe_magnitude
from kseparation.ops.stft import STRATEGIES, _static_window_power, frame_count, hann_window, inverse_stft, stft
from tests.on_backend import compute, gradient_of, numbers
from tests.reference import spectrogram

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "torch_stft.npz")
GOLDEN_NAMES = [name.removesuffix("_sizes") for name in GOLDEN.files if name.endswith("_sizes")]


def noise(*shape):
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype("float32")


def spectrum(signal, *arguments, **named):
    real, imag = compute(lambda x: stft(x, *arguments, **named), signal)
    return real + 1j * imag


def largest_relative_difference(result, reference):
    assert result.shape == reference.shape
    return np.abs(result - reference).max() / np.abs(reference).max()


def round_trip(signal, window, hop, fft_size=None, strategy="fft"):
    def there_and_back(signal):
        real, imag = stft(signal, window, hop, fft_size, strategy)
        return inverse_stft(real, imag, window, hop, signal.shape[-1], fft_size, strategy)

    # Compiling with the large matrices as constants takes seconds on JAX.
    return numbers(there_and_back(ops.convert_to_tensor(signal))) if window > 1000 else compute(there_and_back, signal)


@pytest.mark.parametrize("samples", [1, 100, 44100, 44101])
@pytest.mark.parametrize(("window", "hop"), [(2048, 512), (2048, 441), (4096, 1024), (6144, 1024)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_sample_comes_back(strategy, window, hop, samples):
    signal = noise(samples)
    np.testing.assert_allclose(round_trip(signal, window, hop, strategy=strategy), signal, rtol=0, atol=1e-5)


@settings(max_examples=12)
@given(data=st.data(), window=st.integers(2, 65), samples=st.integers(1, 150), extra=st.integers(0, 9))
def test_every_sample_comes_back_for_odd_sizes(data, window, samples, extra):
    hop = data.draw(st.integers(1, window // 2))
    strategy = data.draw(st.sampled_from(STRATEGIES))
    signal = noise(samples)
    restored = round_trip(signal, window, hop, window + extra, strategy)
    np.testing.assert_allclose(restored, signal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("window", "hop", "fft_size"), [(256, 64, 256), (256, 110, 256), (255, 63, 255), (200, 100, 512), (201, 80, 256), (2, 1, 2)]
)
@pytest.mark.parametrize("samples", [1, 1000])
def test_is_the_definition(strategy, window, hop, fft_size, samples):
    signal = noise(2, samples)
    result = spectrum(signal, window, hop, fft_size, strategy)
    assert largest_relative_difference(result, spectrogram.spectrum(signal, window, hop, fft_size)) < 1e-6


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("window", "hop", "fft_size"), [(64, 16, 64), (50, 25, 64)])
def test_without_centring_only_full_frames_count(strategy, window, hop, fft_size):
    signal = noise(2, 199)
    result = spectrum(signal, window, hop, fft_size, strategy, center=False)
    assert result.shape[1] == 1 + (199 - fft_size) // hop
    reference = spectrogram.spectrum(signal, window, hop, fft_size, center=False)
    assert largest_relative_difference(result, reference) < 1e-6


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_agrees_with_torch(name, strategy):
    window, hop, fft_size = (int(size) for size in GOLDEN[f"{name}_sizes"])
    expected = np.swapaxes(GOLDEN[name], -1, -2)
    result = spectrum(GOLDEN["signal"], window, hop, fft_size, strategy)
    assert largest_relative_difference(result[:, : expected.shape[1]], expected) < 1e-6


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("window", "hop", "fft_size"), [(64, 16, 64), (51, 17, 51), (40, 20, 64)])
def test_inverse_of_any_spectrum_is_the_nearest_signal(strategy, window, hop, fft_size):
    """Also where the spectrum comes from no signal: masks make such ones, with imaginary parts at DC and Nyquist."""
    real, imag = noise(2, 9, fft_size // 2 + 1), noise(3, 9, fft_size // 2 + 1)[:2]
    samples = 8 * hop
    expected = spectrogram.nearest_signal(real + 1j * imag, window, hop, samples, fft_size)
    result = compute(lambda real, imag: inverse_stft(real, imag, window, hop, samples, fft_size, strategy), real, imag)
    assert largest_relative_difference(result, expected) < 1e-5


def test_length_of_the_inverse_defaults_to_the_hops_between_the_frames():
    real = noise(5, 33)
    assert compute(lambda real: inverse_stft(real, real, 64, 16), real).shape == (4 * 16,)


@pytest.mark.parametrize(("hop", "most"), [(16, 5 * 16 - 1), (24, 4 * 24)])
def test_a_length_beyond_the_frames_is_refused(hop, most):
    real = noise(5, 33)
    assert inverse_stft(real, real, 64, hop, most).shape == (most,)
    with pytest.raises(ValueError, match=f"`samples` must be a length that 5 frames cover; this one needs 6. Received: samples={most + 1}"):
        inverse_stft(real, real, 64, hop, most + 1)


def test_only_a_few_lengths_are_kept_in_memory():
    for samples in range(50, 60):
        inverse_stft(noise(5, 33), noise(5, 33), 64, 16, samples)
    assert _static_window_power.cache_info().currsize <= 4


def test_every_length_is_right_when_it_is_known_only_at_run_time():
    """One TensorFlow graph for all lengths; the other backends compile for each shape and are called as they are."""
    lengths = (1, 5, 64, 333)

    def there_and_back(signal):
        real, imag = stft(signal, 64, 24)
        return inverse_stft(real, imag, 64, 24, samples=ops.shape(signal)[-1])

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        there_and_back = tf.function(there_and_back, input_signature=[tf.TensorSpec([None, None])])
    for samples in lengths:
        signal = noise(2, samples)
        np.testing.assert_allclose(compute(there_and_back, signal), signal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradient_on_silence_is_finite(strategy):
    def total(signal):
        return ops.sum(safe_magnitude(*stft(signal, 64, 16, strategy=strategy)))

    np.testing.assert_array_equal(gradient_of(total, np.zeros((1, 200), "float32")), np.zeros((1, 200)))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("samples", [20, 150])
def test_gradient_on_noise_is_a_finite_difference_of_the_definition(strategy, samples):
    signal, step = noise(samples), 1e-6
    gradient = gradient_of(lambda x: ops.sum(safe_magnitude(*stft(x, 64, 20, strategy=strategy))), signal)

    def total(signal):
        return np.abs(spectrogram.spectrum(signal, 64, 20)).sum()

    expected = [(total(signal + step * unit) - total(signal - step * unit)) / (2 * step) for unit in np.eye(samples)]
    assert largest_relative_difference(gradient, np.array(expected)) < 1e-5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_inverse_has_the_gradient_of_a_linear_map(strategy):
    """<gradient, spectrum> of a linear functional is the functional itself."""
    real, weights = noise(2, 7, 33), noise(1, 96)

    def functional(pair):
        return ops.sum(inverse_stft(pair[0], pair[1], 64, 16, 96, strategy=strategy) * ops.convert_to_tensor(weights[0]))

    gradient = gradient_of(functional, real)
    value = float(compute(functional, real))
    assert np.vdot(gradient, real) == pytest.approx(value, rel=1e-4)


def test_half_precision_is_transformed_in_float32():
    signal = noise(300).astype("float16")
    real, imag = compute(lambda x: stft(x, 64, 16), signal)
    assert real.dtype == imag.dtype == np.float32
    assert largest_relative_difference(real + 1j * imag, spectrogram.spectrum(signal, 64, 16)) < 1e-6


@given(samples=st.integers(1, 10**6), window=st.integers(2, 10**4), data=st.data())
def test_frames_reach_the_end_and_no_further_than_needed(samples, window, data):
    hop = data.draw(st.integers(1, window // 2))
    frames = frame_count(samples, window, hop)
    assert frames == spectrogram.count_frames(samples, window, hop)
    assert (frames - 1) * hop > samples - hop
    assert (frames - 2) * hop < samples


@pytest.mark.parametrize(("window", "fft_size"), [(8, None), (9, None), (8, 16), (7, 10)])
def test_window_is_the_periodic_hann_window(window, fft_size):
    result = hann_window(window, fft_size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, spectrogram.padded_window(window, fft_size or window), atol=1e-7)

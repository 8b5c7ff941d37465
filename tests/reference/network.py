"""The network's operations in NumPy and float64, from their definitions. Features are `(batch, frames, bins, channels)`."""

import numpy as np
from scipy.special import erf


def relu(features):
    return np.maximum(features, 0)


def sigmoid(features):
    return 1 / (1 + np.exp(-features))


def gelu(features):
    return features * 0.5 * (1 + erf(features / np.sqrt(2)))


def normalize(features, gamma, beta, mean, variance, axis=-1, epsilon=1e-5):
    """Batch normalisation with given statistics."""
    shape = [1] * features.ndim
    shape[axis] = -1
    gamma, beta, mean, variance = (np.reshape(part, shape) for part in (gamma, beta, mean, variance))
    return (features - mean) / np.sqrt(variance + epsilon) * gamma + beta


def grouped_convolution(features, kernel, bias, groups):
    """Correlation with `kernel` `(height, width, channels / groups, filters)`, zeros beyond the edges."""
    height, width, inputs, filters = kernel.shape
    batch, frames, bins, _ = features.shape
    padded = np.pad(features, ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0)))
    result = np.zeros((batch, frames, bins, filters)) + bias
    for group in range(groups):
        seen = padded[..., group * inputs : (group + 1) * inputs]
        made = slice(group * filters // groups, (group + 1) * filters // groups)
        for row in range(height):
            for column in range(width):
                result[..., made] += seen[:, row : row + frames, column : column + bins] @ kernel[row, column][:, made]
    return result


def strided_convolution(features, kernel, bias):
    """Correlation over frames with stride 2 and `kernel` `(2, channels, filters)`, one output frame after the other."""
    frames = range(0, features.shape[1] - 1, 2)
    return np.stack([features[:, k] @ kernel[0] + features[:, k + 1] @ kernel[1] + bias for k in frames], axis=1)


def transposed_convolution(features, kernel, bias):
    """The adjoint of a stride: every frame adds its two products to the output at twice its place."""
    batch, frames, bins, _ = features.shape
    result = np.zeros((batch, 2 * frames, bins, kernel.shape[-1])) + bias
    for frame in range(frames):
        for tap in range(2):
            result[:, 2 * frame + tap] += features[:, frame] @ kernel[tap]
    return result


def rms_norm(features, gamma):
    size = features.shape[-1]
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12) * np.sqrt(size) * gamma


def rotate(features):
    """Rotary positions of `(batch, positions, heads, size)` as complex numbers: feature i is the real part, i + size / 2 the imaginary one."""
    half = features.shape[-1] // 2
    frequency = 10000.0 ** (-np.arange(half) / half)
    turned = (features[..., :half] + 1j * features[..., half:]) * np.exp(1j * np.arange(features.shape[1])[:, None, None] * frequency)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def rotary_attention(sequence, weights, heads):
    """One attention with rotary positions and a gate per head, head by head; `weights` by the layer's names."""
    normed = rms_norm(sequence, weights["gamma"])
    query, key, value = np.split(normed @ weights["query_key_value"], 3, axis=-1)
    batch, positions, inner = query.shape
    size = inner // heads
    query, key = (rotate(part.reshape(batch, positions, heads, size)) for part in (query, key))
    value = value.reshape(batch, positions, heads, size)
    gate = sigmoid(normed @ weights["gate"] + weights["gate_bias"])
    attended = np.zeros_like(value)
    for item in range(batch):
        for head in range(heads):
            scores = query[item, :, head] @ key[item, :, head].T / np.sqrt(size)
            shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
            shares /= shares.sum(axis=-1, keepdims=True)
            attended[item, :, head] = shares @ value[item, :, head] * gate[item, :, head, None]
    return sequence + attended.reshape(batch, positions, inner) @ weights["output_projection"]


def feed_forward(sequence, gamma, expand, expand_bias, contract, contract_bias):
    return sequence + gelu(rms_norm(sequence, gamma) @ expand + expand_bias) @ contract + contract_bias


def convolution_unit(features, weights, bands):
    """Convolution, normalisation, ReLU; `weights` as `layer_weights` gives them."""
    convolved = grouped_convolution(features, weights["convolution/kernel"], weights["convolution/bias"], bands)
    return relu(normalize(convolved, *statistics(weights, "normalization")))


def frequency_dense(features, weights):
    """Both dense layers along the bins, one frame and channel at a time."""
    waist = np.einsum("bkfc,fw->bkwc", features, weights["contract"]) + weights["contract_bias"][:, None]
    waist = relu(normalize(waist, *statistics(weights, "first_normalization")))
    wide = np.einsum("bkwc,wf->bkfc", waist, weights["expand"]) + weights["expand_bias"][:, None]
    return relu(normalize(wide, *statistics(weights, "second_normalization")))


def statistics(weights, name):
    return [weights[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")]


def time_frequency_dense_block(features, weights, convolutions, bands):
    def unit(features, name):
        return convolution_unit(features, below(weights, name), bands)

    shortcut = unit(features, "shortcut")
    for index in range(convolutions):
        features = unit(features, f"before_{index}")
    features = features + frequency_dense(features, below(weights, "dense"))
    for index in range(convolutions):
        features = unit(features, f"after_{index}")
    return features + shortcut


def below(weights, name):
    """The weights of one sublayer, by the names that it gives them."""
    return {path.removeprefix(f"{name}/"): value for path, value in weights.items() if path.startswith(f"{name}/")}

"""Weights of the public PyTorch package `moises-light` 0.1.5: which of its tensors is which of our weights, and in which layout."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kseparation.errors import UserError

# Of its attention; the package has no argument for them.
HEADS, HEAD_SIZE, ROTARY_BASE = 4, 32, 10000.0


@dataclass(frozen=True)
class Source:
    """A weight of the package.

    Args:
        key: its name in the state dict.
        turned: from its layout to ours.
    """

    key: str
    turned: Callable[[np.ndarray], np.ndarray] = np.asarray


def _convolution(weight):
    return np.transpose(weight, (3, 2, 1, 0))  # (out, in, bins, frames) to (frames, bins, in, out)


def _resampling(weight):
    return np.transpose(weight[:, :, 0], (2, 1, 0))  # (out, in, 1, 2) to (2, in, out)


def _transposed_resampling(weight):
    return np.transpose(weight[:, :, 0], (2, 0, 1))  # (in, out, 1, 2) to (2, in, out)


def _linear(weight):
    return weight.T


def _pointwise(weight):
    return weight[:, :, 0, 0].T  # (out, in, 1, 1) to (in, out)


def _rotated_halves(weight):
    """Moves the pairs that turn together, neighbours in the package, half a head apart."""
    columns = weight.T.reshape(weight.shape[1], 3, HEADS, HEAD_SIZE).copy()
    order = np.concatenate([np.arange(0, HEAD_SIZE, 2), np.arange(1, HEAD_SIZE, 2)])
    columns[:, :2] = columns[:, :2][..., order]  # queries and keys
    return columns.reshape(weight.shape[1], -1)


def _normalization(theirs, ours):
    for key, name in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"), ("running_var", "moving_variance")):
        yield f"{ours}/{name}", Source(f"{theirs}.{key}")


def _unit(theirs, ours):
    yield f"{ours}/convolution/kernel", Source(f"{theirs}.conv.weight", _convolution)
    yield f"{ours}/convolution/bias", Source(f"{theirs}.conv.bias")
    yield from _normalization(f"{theirs}.bn", f"{ours}/normalization")


def _block(theirs, ours, convolutions):
    yield from _unit(f"{theirs}.res", f"{ours}/shortcut")
    for index in range(convolutions):
        yield from _unit(f"{theirs}.split1.{index}", f"{ours}/before_{index}")
        yield from _unit(f"{theirs}.split2.{index}", f"{ours}/after_{index}")
    for number, name, order in ((1, "contract", "first"), (2, "expand", "second")):
        yield f"{ours}/dense/{name}", Source(f"{theirs}.tdf.fc{number}.weight", _linear)
        yield f"{ours}/dense/{name}_bias", Source(f"{theirs}.tdf.fc{number}.bias")
        yield from _normalization(f"{theirs}.tdf.bn{number}", f"{ours}/dense/{order}_normalization")


def _frames(theirs, ours, turned):
    yield f"{ours}/kernel", Source(f"{theirs}.conv.weight", turned)
    yield f"{ours}/bias", Source(f"{theirs}.conv.bias")
    yield from _normalization(f"{theirs}.bn", f"{ours}/normalization")


def _transformer(theirs, ours):
    attention, forward = f"{theirs}.layers.0.0", f"{theirs}.layers.0.1.net"
    yield f"{ours}/attention/norm/gamma", Source(f"{attention}.norm.gamma")
    yield f"{ours}/attention/query_key_value", Source(f"{attention}.to_qkv.weight", _rotated_halves)
    yield f"{ours}/attention/gate", Source(f"{attention}.to_gates.weight", _linear)
    yield f"{ours}/attention/gate_bias", Source(f"{attention}.to_gates.bias")
    yield f"{ours}/attention/output_projection", Source(f"{attention}.to_out.0.weight", _linear)
    yield f"{ours}/norm/gamma", Source(f"{forward}.0.gamma")
    for number, name in ((1, "expand"), (4, "contract")):
        yield f"{ours}/{name}", Source(f"{forward}.{number}.weight", _linear)
        yield f"{ours}/{name}_bias", Source(f"{forward}.{number}.bias")


def sources(arguments: Mapping[str, Any]) -> dict[str, Source]:
    """Returns the tensor of the package for each weight of ours, by the path of the weight in the model.

    Args:
        arguments: of `MoisesLight`: `levels`, `convolutions`, `transformers`, `stems`.
    """
    return dict(_sources(arguments["levels"], arguments["convolutions"], arguments["transformers"], len(arguments["stems"])))


def _sources(levels, convolutions, transformers, stems) -> Iterator[tuple[str, Source]]:
    yield from _unit("first_conv", "first")
    for level in range(levels):
        yield from _block(f"encoder_blocks.{level}", f"encoder_{level}", convolutions)
        yield from _frames(f"ds.{level}", f"downsample_{level}", _resampling)
        # The coarsest level of the decoder is the only one with a block; it is counted by itself.
        theirs = "dec_heavy_us.0" if level == levels - 1 else f"dec_light_us.{levels - 2 - level}"
        yield from _frames(theirs, f"upsample_{level}", _transposed_resampling)
    yield from _block("bottleneck.split_merge", "waist", convolutions)
    for index in range(transformers):
        for axis, name in (("time", "time"), ("freq", "frequency")):
            yield from _transformer(f"bottleneck.rope_blocks.{index}.{axis}_transformer", f"{name}_transformer_{index}")
    yield "waist_norm/gamma", Source("bottleneck.final_norm.gamma")
    yield from _block("dec_heavy_blocks.0", f"decoder_{levels - 1}", 1)
    yield "last/kernel", Source("final_conv.weight", _convolution)
    yield "last/bias", Source("final_conv.bias")
    if stems > 1:
        yield "stem_head", Source("source_head.weight", _pointwise)
        yield "stem_head_bias", Source("source_head.bias")


def arguments_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Reads the arguments of `MoisesLight` from the shapes of a state dict: all but the hop, `segment_samples` and names of stems.

    Raises:
        UserError: a tensor that tells an argument is missing or has another rank.
    """
    window, padding = _shape(state, "stft_window", 1)[0], _shape(state, "freq_pad", 4)
    width = _shape(state, "first_conv.conv.weight", 4)[0]
    last = _shape(state, "final_conv.weight", 4)
    channels = padding[1] // 2
    return {
        "window_samples": window,
        "bins": window // 2 + 1 - padding[2],
        "bands": width // last[1],
        "width": width,
        "channels": channels,
        "levels": _count(state, "ds.{}.conv.weight"),
        "convolutions": _count(state, "encoder_blocks.0.split1.{}.conv.weight"),
        "transformers": _count(state, "bottleneck.rope_blocks.{}.time_transformer.layers.0.0.to_qkv.weight"),
    }


def stem_count(state: Mapping[str, np.ndarray]) -> int:
    """Returns the number of stems of a state dict."""
    if "source_head.weight" not in state:
        return 1
    planes, channels = _shape(state, "source_head.weight", 4)[:2]
    return planes // channels


def _shape(state, key, rank):
    if key not in state:
        raise UserError(f"The checkpoint is no Moises-Light of the package `moises-light` 0.1.5: it lacks `{key}`. Received: {len(state)} tensors, {_some(state)}.")
    if state[key].ndim != rank or not state[key].size:
        raise UserError(f"`{key}` of the checkpoint has another shape than in `moises-light` 0.1.5. Received: {state[key].shape}, and {rank} axes are needed.")
    return state[key].shape


def _count(state, pattern):
    number = 0
    while pattern.format(number) in state:
        number += 1
    return number


def constants(arguments: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """Returns the tensors of the package that are no weights, with the values they must have; None where any will do."""
    window = arguments["window_samples"]
    padding = window // 2 + 1 - arguments["bins"]
    found = {
        "stft_window": 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window),
        "freq_pad": np.zeros((1, 2 * arguments["channels"], padding, 1)),
    }
    for source in sources(arguments).values():
        if source.key.endswith("running_mean"):
            found[source.key.replace("running_mean", "num_batches_tracked")] = None
    frequencies = ROTARY_BASE ** (-np.arange(0, HEAD_SIZE, 2) / HEAD_SIZE)
    for index in range(arguments["transformers"]):
        for axis in ("time", "freq"):
            found[f"bottleneck.rope_blocks.{index}.{axis}_transformer.layers.0.0.rotary_embed.freqs"] = frequencies
    return found


def our_weights(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns our weights by path, from a state dict whose every tensor is accounted for.

    Args:
        state: the tensors by name.
        arguments: of `MoisesLight`, complete.
        shapes: of the weights of the built model by path.

    Raises:
        UserError: tensors are missing, left over, of another shape or not finite, or a constant has another value than ours; all are named.
    """
    table, fixed = sources(arguments), constants(arguments)
    if set(table) != set(shapes):
        raise ValueError(f"The table and the model differ: {sorted(set(table) ^ set(shapes))}")
    known = {source.key for source in table.values()} | set(fixed)
    _refuse("lacks", sorted(known - set(state)))
    _refuse("holds tensors that `moises-light` 0.1.5 does not have:", sorted(set(state) - known))
    weights, wrong = {}, []
    for path, source in table.items():
        try:
            weights[path] = np.ascontiguousarray(source.turned(state[source.key]), dtype="float32")
            fits = weights[path].shape == tuple(shapes[path])
        except (ValueError, IndexError):  # another number of axes
            fits = False
        if not fits:
            wrong.append(f"`{source.key}` {tuple(state[source.key].shape)} for `{path}` {tuple(shapes[path])}")
        elif not np.isfinite(weights[path]).all():
            wrong.append(f"`{source.key}` is not finite")
    for key, value in fixed.items():
        if value is not None and not (state[key].shape == value.shape and np.allclose(state[key], value, rtol=_rounding(state[key]), atol=1e-6)):
            wrong.append(f"`{key}` has other values than the package gives it")
    _refuse("does not fit the model:", wrong)
    return weights


def _rounding(values):
    """How far values may be off in relation to their size: by the rounding of the precision in which they were stored."""
    values = np.asarray(values, "float32")
    if not np.any(values.view("uint32") & 0xFFFF):  # bfloat16 has the upper half of the bits
        return 2**-7
    with np.errstate(over="ignore"):
        return 2**-10 if np.array_equal(values, values.astype("float16")) else 1e-5


def _refuse(what, items):
    if items:
        raise UserError(f"The checkpoint {what} {_some(items)}. Check --model_config, and that it comes from the package `moises-light` 0.1.5 (0.1.3 and older differ).")


def _some(items):
    items = [item if "`" in item else f"`{item}`" for item in items]
    return ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")

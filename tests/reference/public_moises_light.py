"""Runs the public package moises-light with random weights and statistics, in a torch process of its own.

Usage: python -m tests.reference.public_moises_light OUT.npz MASK, where MASK is 1 for masks and 0 for direct spectra. Its weights are written with the names
and layouts of `kseparation.models.MoisesLight`.
"""

import sys

import numpy as np
import torch
from moises_light import MoisesLight

HEADS, HEAD_SIZE = 4, 32
SIZES = {"n_fft": 512, "win_size": 512, "hop_size": 128, "freq_dim": 192, "n_bands": 4, "G": 8, "n_rope": 1}


def convolution(weight):
    """(out, in, bins, frames) to (frames, bins, in, out)."""
    return np.transpose(weight, (3, 2, 1, 0))


def halves(weight):
    """Columns of queries and keys, whose neighbours are pairs, so that the pairs lie half a head apart."""
    columns = weight.T.reshape(weight.shape[1], 3, HEADS, HEAD_SIZE)
    order = np.concatenate([np.arange(0, HEAD_SIZE, 2), np.arange(1, HEAD_SIZE, 2)])
    columns[:, :2] = columns[:, :2][..., order]
    return columns.reshape(weight.shape[1], -1)


def batch_norm(state, theirs, ours):
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    return {f"{ours}/{ours_name}": state[f"{theirs}.{name}"] for name, ours_name in names.items()}


def unit(state, theirs, ours):
    return {
        f"{ours}/convolution/kernel": convolution(state[f"{theirs}.conv.weight"]),
        f"{ours}/convolution/bias": state[f"{theirs}.conv.bias"],
        **batch_norm(state, f"{theirs}.bn", f"{ours}/normalization"),
    }


def block(state, theirs, ours, count):
    weights = unit(state, f"{theirs}.res", f"{ours}/shortcut")
    for index in range(count):
        weights |= unit(state, f"{theirs}.split1.{index}", f"{ours}/before_{index}")
        weights |= unit(state, f"{theirs}.split2.{index}", f"{ours}/after_{index}")
    for number, (name, order) in enumerate((("contract", "first"), ("expand", "second")), 1):
        weights[f"{ours}/dense/{name}"] = state[f"{theirs}.tdf.fc{number}.weight"].T
        weights[f"{ours}/dense/{name}_bias"] = state[f"{theirs}.tdf.fc{number}.bias"]
        weights |= batch_norm(state, f"{theirs}.tdf.bn{number}", f"{ours}/dense/{order}_normalization")
    return weights


def resampling(state, theirs, ours, transposed):
    kernel = state[f"{theirs}.conv.weight"][:, :, 0]  # (out, in, 2), transposed (in, out, 2)
    return {
        f"{ours}/kernel": np.transpose(kernel, (2, 0, 1) if transposed else (2, 1, 0)),
        f"{ours}/bias": state[f"{theirs}.conv.bias"],
        **batch_norm(state, f"{theirs}.bn", f"{ours}/normalization"),
    }


def transformer(state, theirs, ours):
    attention, forward = f"{theirs}.layers.0.0", f"{theirs}.layers.0.1.net"
    return {
        f"{ours}/attention/norm/gamma": state[f"{attention}.norm.gamma"],
        f"{ours}/attention/query_key_value": halves(state[f"{attention}.to_qkv.weight"]),
        f"{ours}/attention/gate": state[f"{attention}.to_gates.weight"].T,
        f"{ours}/attention/gate_bias": state[f"{attention}.to_gates.bias"],
        f"{ours}/attention/output_projection": state[f"{attention}.to_out.0.weight"].T,
        f"{ours}/norm/gamma": state[f"{forward}.0.gamma"],
        f"{ours}/expand": state[f"{forward}.1.weight"].T,
        f"{ours}/expand_bias": state[f"{forward}.1.bias"],
        f"{ours}/contract": state[f"{forward}.4.weight"].T,
        f"{ours}/contract_bias": state[f"{forward}.4.bias"],
    }


def our_weights(state):
    """All weights under our names and in our layouts."""
    weights = unit(state, "first_conv", "first") | block(state, "bottleneck.split_merge", "waist", 3)
    for level in range(3):
        weights |= block(state, f"encoder_blocks.{level}", f"encoder_{level}", 3)
        weights |= resampling(state, f"ds.{level}", f"downsample_{level}", transposed=False)
    pair = "bottleneck.rope_blocks.0"
    weights |= transformer(state, f"{pair}.time_transformer", "time_transformer_0")
    weights |= transformer(state, f"{pair}.freq_transformer", "frequency_transformer_0")
    weights["waist_norm/gamma"] = state["bottleneck.final_norm.gamma"]
    weights |= block(state, "dec_heavy_blocks.0", "decoder_2", 1)
    for theirs, ours in (("dec_heavy_us.0", "upsample_2"), ("dec_light_us.0", "upsample_1"), ("dec_light_us.1", "upsample_0")):
        weights |= resampling(state, theirs, ours, transposed=True)
    weights["last/kernel"] = convolution(state["final_conv.weight"])
    weights["last/bias"] = state["final_conv.bias"]
    weights["stem_head"] = state["source_head.weight"][:, :, 0, 0].T
    weights["stem_head_bias"] = state["source_head.bias"]
    return weights


def main(path, use_mask):
    torch.manual_seed(0)
    model = MoisesLight(**SIZES, use_mask=use_mask).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("gamma", "running_var", "bn.weight", "bn1.weight", "bn2.weight")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith(("running_mean", "bias")):
                tensor.uniform_(-0.3, 0.3)
        mixture = torch.rand(2, 2, 4097) * 20 - 10  # the untrained direct output is soft
        stems = model(mixture)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(path, mixture=mixture.transpose(1, 2).numpy(), stems=stems.transpose(2, 3).numpy(), **our_weights(state))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "1")

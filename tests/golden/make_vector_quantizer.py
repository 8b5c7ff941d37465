"""Makes `vector_quantizer.npz`: three steps of vector-quantize-pytorch 1.32.0, run with `python tests/golden/make_vector_quantizer.py`.

Its sums and counts start at its codebook and at 1; the rotation trick and the replacement of dead codes are off.
"""

from pathlib import Path

import numpy as np
import torch
from vector_quantize_pytorch import FSQ, VectorQuantize

CODES, FEATURES, VECTORS, STEPS = 16, 4, 64, 3


def steps(cosine: bool) -> dict[str, np.ndarray]:
    """Returns inputs, first codebook, and the state after each step."""
    generator = np.random.default_rng(5 + cosine)
    batches = generator.normal(size=(STEPS, 1, VECTORS, FEATURES)).astype("float32")
    codebook = generator.normal(size=(CODES, FEATURES)).astype("float32")
    if cosine:
        codebook /= np.linalg.norm(codebook, axis=-1, keepdims=True)
    layer = VectorQuantize(FEATURES, CODES, decay=0.9, eps=1e-5, rotation_trick=False, threshold_ema_dead_code=0, commitment_weight=0.25, use_cosine_sim=cosine)
    inner = layer._codebook
    inner.embed.data.copy_(torch.from_numpy(codebook)[None])
    inner.embed_avg.data.copy_(torch.from_numpy(codebook)[None])
    inner.cluster_size.data.fill_(1.0)
    layer.train()
    found = {"batches": batches, "codebook": codebook}
    for step, batch in enumerate(batches):
        quantized, codes, loss = layer(torch.from_numpy(batch))
        state = {"quantized": quantized, "codes": codes, "loss": loss, "embed": inner.embed[0], "counts": inner.cluster_size[0], "sums": inner.embed_avg[0]}
        found |= {f"{name}{step}": value.detach().numpy().copy() for name, value in state.items()}
    return found


def scalar() -> dict[str, np.ndarray]:
    """Returns inputs of the finite scalar quantiser, outputs and codes."""
    vectors = (3 * np.random.default_rng(8).normal(size=(1, 200, 4))).astype("float32")
    quantized, codes = FSQ([8, 5, 5, 5])(torch.from_numpy(vectors))
    return {"vectors": vectors, "quantized": quantized.numpy(), "codes": codes.numpy()}


def everything() -> dict[str, np.ndarray]:
    """Returns the arrays of the file, by name."""
    parts = {"euclidean": steps(False), "cosine": steps(True), "scalar": scalar()}
    return {f"{part}_{name}": value for part, arrays in parts.items() for name, value in arrays.items()}


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("vector_quantizer.npz"), **everything())

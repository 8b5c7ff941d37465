"""The step of the public package vector-quantize-pytorch 1.32.0 on a codebook of real size; `tests/golden/vector_quantizer.npz` holds smaller ones for the other backends."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers import VectorQuantizer
from tests.on_backend import numbers

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the package is written in torch")
CODES, FEATURES, VECTORS = 128, 16, 2000


@pytest.mark.parametrize("cosine", [False, True])
def test_steps_are_those_of_the_package(cosine):
    import torch
    from vector_quantize_pytorch import VectorQuantize

    generator = np.random.default_rng(11)
    codebook = generator.normal(size=(CODES, FEATURES)).astype("float32")
    if cosine:
        codebook /= np.linalg.norm(codebook, axis=-1, keepdims=True)
    theirs = VectorQuantize(FEATURES, CODES, decay=0.8, rotation_trick=False, threshold_ema_dead_code=0, use_cosine_sim=cosine).train()
    inner = theirs._codebook
    for buffer, value in ((inner.embed, codebook), (inner.embed_avg, codebook), (inner.cluster_size, np.ones(CODES, "float32"))):
        buffer.data.copy_(torch.from_numpy(value)[None])
    ours = VectorQuantizer(CODES, similarity="cosine" if cosine else "euclidean", decay=0.8, vectors_per_step=CODES, revival={"rule": "off"})
    ours.build((None, FEATURES))
    ours.set_codebook(codebook)
    for _ in range(5):
        vectors = generator.normal(size=(1, VECTORS, FEATURES)).astype("float32")
        # From the same state each time: the two nearest codes of a vector may be at distances that rounding tells apart.
        for weight, buffer in ((ours.codebook, inner.embed), (ours.sums, inner.embed_avg), (ours.counts, inner.cluster_size)):
            weight.assign(buffer[0].clone())
        found = ours.match(ops.convert_to_tensor(vectors), training=True)
        _, codes, _ = theirs(torch.from_numpy(vectors))
        np.testing.assert_array_equal(numbers(found.codes), codes.numpy())
        np.testing.assert_allclose(numbers(ours.codebook), inner.embed[0].numpy(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(numbers(ours.counts), inner.cluster_size[0].numpy(), rtol=1e-6)
        np.testing.assert_allclose(numbers(ours.sums), inner.embed_avg[0].numpy(), rtol=0, atol=1e-6 * np.abs(inner.embed_avg.numpy()).max())


def test_the_golden_file_is_what_the_package_gives():
    path = Path(__file__).parents[1] / "golden" / "make_vector_quantizer.py"
    spec = importlib.util.spec_from_file_location("make_vector_quantizer", path)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    with np.load(path.with_name("vector_quantizer.npz")) as golden:
        for name, value in maker.everything().items():
            np.testing.assert_allclose(golden[name], value, rtol=1e-6, atol=1e-6, err_msg=name)

"""Steps of layers that Keras has, and of the real models, seen call by call."""

import keras
import numpy as np
import pytest

from kseparation.losses import LOSSES
from kseparation.models.mask_unet import MaskUNet
from kseparation.models.moises_light import MoisesLight
from kseparation.training import examination
from kseparation.training.examination import examine_step
from tests.faulty_models import Root, Twice, batch, chain, compiled, fault, state
from tests.on_backend import numbers
from tests.tiny_run import MODEL
from tests.tiny_separator import CHANNELS, SAMPLES, STEMS


def test_layers_of_keras_and_a_model_inside_of_the_model():
    narrow, wide = (keras.layers.Reshape(shape) for shape in ((2, SAMPLES), (SAMPLES, CHANNELS)))  # an LSTM takes its steps one by one
    inner = keras.Sequential([narrow, keras.layers.LSTM(SAMPLES, return_sequences=True, name="lstm"), wide, keras.layers.LayerNormalization(name="norm"), keras.layers.ReLU(name="relu")], name="inner")
    attention = keras.layers.MultiHeadAttention(1, 2, name="attention")
    model = chain(inner, Twice(attention, name="twice"), Root(name="odd"))
    found = examine_step(model, *batch())
    assert found.finding is None and {"chain/inner/lstm", "chain/inner/norm", "chain/twice/attention"} <= set(found.scales)
    model.layers_before[1].layers[-1].call = lambda features: features - features  # that shall not be lost
    finding = fault(model, *batch())
    assert (finding.direction, finding.layer, finding.operation) == ("backward", "chain/odd", "sqrt")
    assert not numbers(model.layers_before[1](batch()[0])).any()


@pytest.fixture
def quick_gradients(monkeypatch):
    """JAX takes ten seconds to compile the gradient of a real model operation by operation, and two as a whole."""
    if keras.backend.backend() == "jax":
        import jax

        monkeypatch.setattr(examination, "gradients", lambda function, tensors: list(jax.jit(jax.grad(function))(list(tensors))))


def moises_light():
    model = MoisesLight(stems=STEMS, sample_rate=8000, segment_samples=800, dropout=0.1, **{key: value for key, value in MODEL.items() if key != "name"}, name="moises_light")
    model.build((None, 800, CHANNELS))
    losses = {"waveform_l1": LOSSES["waveform_l1"](), "multi_resolution_complex_stft": LOSSES["multi_resolution_complex_stft"]((256, 128), 64, 1)}
    return compiled(model, losses)


def long_batch():
    y = np.random.default_rng(1).uniform(-0.5, 0.5, (1, len(STEMS), 800, CHANNELS)).astype("float32")
    return y.sum(axis=1), y


@pytest.mark.slow
def test_the_real_model_stays_sound_and_a_weight_that_is_too_large_is_found(quick_gradients):
    model = moises_light()
    before = state(model)
    found = examine_step(model, *long_batch())
    assert found.finding is None and state(model) == before
    assert {"moises_light/encoder_0/dense", "moises_light/time_transformer_0/attention/norm", "moises_light/last"} <= set(found.scales)
    assert list(found.parts) == ["waveform_l1", "multi_resolution_complex_stft/256", "multi_resolution_complex_stft/128"]
    weight = model.time_transformers[0].expand
    weight.assign(np.full(weight.shape, 1e38))
    finding = fault(model, *long_batch())
    assert (finding.direction, finding.layer, finding.operation) == ("forward", "moises_light/time_transformer_0", "matmul")
    assert finding.place.startswith("kseparation/layers/rotary_attention.py:") and finding.largest_input == pytest.approx(1e38) and finding.input_finite


@pytest.mark.slow
def test_a_convolution_that_overflows_is_named_on_every_backend(quick_gradients):
    model = moises_light()
    weight = model.last.kernel
    weight.assign(np.full(weight.shape, 3e38))
    finding = fault(model, *long_batch())
    assert (finding.direction, finding.layer, finding.operation) == ("forward", "moises_light/last", "conv")
    assert finding.place.startswith("kseparation/layers/band_convolution.py:")


@pytest.mark.slow
def test_masks_with_a_loss_of_their_own(quick_gradients):
    model = MaskUNet(STEMS, 8000, CHANNELS, 300, window_samples=32, hop_samples=8, filters=(3,), name="mask_unet")
    model.build((None, 300, CHANNELS))
    model.compile("sgd")
    y = np.random.default_rng(1).uniform(-0.5, 0.5, (1, len(STEMS), 300, CHANNELS)).astype("float32")
    y[:, :, 100:200] = 0.0
    found = examine_step(model, y.sum(axis=1), y)
    assert found.finding is None and list(found.parts) == ["magnitude/vocals", "magnitude/drums"]

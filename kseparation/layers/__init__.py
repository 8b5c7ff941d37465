"""Layers. To add one: a file here, a line below, a row in `tests/tiny.py`."""

from kseparation.layers.band_convolution import BandConvolution
from kseparation.layers.band_split import BandMerge, BandSplit
from kseparation.layers.dense_stack import DenseStack
from kseparation.layers.finite_batch_normalization import FiniteBatchNormalization
from kseparation.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from kseparation.layers.frame_resampling import FrameDownsample, FrameUpsample
from kseparation.layers.rms_norm import RMSNorm
from kseparation.layers.rotary_attention import RotaryAttention, RotaryTransformer
from kseparation.layers.spectrogram import STFT, InverseSTFT
from kseparation.layers.spectrogram_unet import SpectrogramUNet
from kseparation.layers.strided_convolution import StridedConvolution, TransposedConvolution
from kseparation.layers.time_frequency_dense import BandConvolutionUnit, FrequencyDense, TimeFrequencyDenseBlock
from kseparation.layers.vector_quantizer import VectorQuantizer

LAYERS = {
    "stft": STFT,
    "inverse_stft": InverseSTFT,
    "band_split": BandSplit,
    "band_merge": BandMerge,
    "band_convolution": BandConvolution,
    "band_convolution_unit": BandConvolutionUnit,
    "dense_stack": DenseStack,
    "finite_batch_normalization": FiniteBatchNormalization,
    "frame_downsample": FrameDownsample,
    "frame_upsample": FrameUpsample,
    "frequency_dense": FrequencyDense,
    "rms_norm": RMSNorm,
    "rotary_attention": RotaryAttention,
    "rotary_transformer": RotaryTransformer,
    "spectrogram_unet": SpectrogramUNet,
    "strided_convolution": StridedConvolution,
    "transposed_convolution": TransposedConvolution,
    "time_frequency_dense_block": TimeFrequencyDenseBlock,
    "finite_scalar_quantizer": FiniteScalarQuantizer,
    "vector_quantizer": VectorQuantizer,
}

__all__ = [layer.__name__ for layer in LAYERS.values()] + ["LAYERS"]

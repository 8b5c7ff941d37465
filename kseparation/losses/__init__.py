"""Losses. To add one: a file here with a pure function and a thin class, a line below, a row in `tests/tiny.py`."""

from kseparation.losses.magnitude_l1 import MagnitudeL1
from kseparation.losses.multi_resolution_complex_stft import MultiResolutionComplexSTFT
from kseparation.losses.multi_resolution_stft import MultiResolutionSTFT
from kseparation.losses.negative_binomial import NegativeBinomial
from kseparation.losses.objective import Objective
from kseparation.losses.waveform_l1 import WaveformL1

LOSSES = {
    "waveform_l1": WaveformL1,
    "multi_resolution_complex_stft": MultiResolutionComplexSTFT,
    "multi_resolution_stft": MultiResolutionSTFT,
    "magnitude_l1": MagnitudeL1,
    "negative_binomial": NegativeBinomial,
}

__all__ = ["LOSSES", "MagnitudeL1", "MultiResolutionComplexSTFT", "MultiResolutionSTFT", "NegativeBinomial", "Objective", "WaveformL1"]

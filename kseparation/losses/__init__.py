"""Losses. To add one: a file here with a pure function and a thin class, a line below, a row in `tests/tiny.py`."""

from kseparation.losses.multi_resolution_complex_stft import MultiResolutionComplexSTFT
from kseparation.losses.objective import Objective
from kseparation.losses.waveform_l1 import WaveformL1

LOSSES = {
    "waveform_l1": WaveformL1,
    "multi_resolution_complex_stft": MultiResolutionComplexSTFT,
}

__all__ = ["LOSSES", "MultiResolutionComplexSTFT", "Objective", "WaveformL1"]

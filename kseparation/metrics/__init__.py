"""Scores of separated stems: whole-track accumulators in NumPy, and their counterpart for `model.fit` in Keras. The health of codebooks.

`TRACK_METRICS` holds what `evaluate --metrics` accepts, each built with the stems' names. `METRICS` holds the Keras
metrics that compare `y_true` with `y_pred`.
"""

from kseparation.metrics.codebook_health import (
    ActiveCodeShare,
    CodebookHealth,
    CodebookMovement,
    CodebookPerplexity,
    CodeNormRatio,
    QuantizationErrorRatio,
    RevivedCodes,
)
from kseparation.metrics.global_sdr import GlobalSDR
from kseparation.metrics.global_sdr_metric import GlobalSDRMetric
from kseparation.metrics.si_sdr import SISDR

TRACK_METRICS = {"sdr": GlobalSDR, "si_sdr": SISDR}

METRICS = {
    "global_sdr_metric": GlobalSDRMetric,
    "code_norm_ratio": CodeNormRatio,
    "quantization_error_ratio": QuantizationErrorRatio,
}

__all__ = [
    "METRICS",
    "SISDR",
    "TRACK_METRICS",
    "ActiveCodeShare",
    "CodeNormRatio",
    "CodebookHealth",
    "CodebookMovement",
    "CodebookPerplexity",
    "GlobalSDR",
    "GlobalSDRMetric",
    "QuantizationErrorRatio",
    "RevivedCodes",
]

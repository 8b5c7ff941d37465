"""Scores of separated stems: whole-track accumulators in NumPy, and their counterpart for `model.fit` in Keras.

`TRACK_METRICS` holds what `evaluate --metrics` accepts, each built with the stems' names. `METRICS` holds the Keras
metrics.
"""

from kseparation.metrics.global_sdr import GlobalSDR
from kseparation.metrics.global_sdr_metric import GlobalSDRMetric
from kseparation.metrics.si_sdr import SISDR

TRACK_METRICS = {"sdr": GlobalSDR, "si_sdr": SISDR}

METRICS = {"global_sdr_metric": GlobalSDRMetric}

"""Training safety: the guarded optimizer and the callbacks around `model.fit`."""

from kseparation.training.clipping import FixedNorm, PercentileNorm
from kseparation.training.guarded_optimizer import GuardedOptimizer
from kseparation.training.safety_callbacks import GradientClipping, TerminateOnNonFinite
from kseparation.training.warmup_schedule import WarmupSchedule

CALLBACKS = {
    "terminate_on_non_finite": TerminateOnNonFinite,
    "gradient_clipping": GradientClipping,
}

__all__ = ["CALLBACKS", "FixedNorm", "GradientClipping", "GuardedOptimizer", "PercentileNorm", "TerminateOnNonFinite", "WarmupSchedule"]

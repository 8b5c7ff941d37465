"""Faults that a config can put into a training (`inject`), and what is to come of each. To add one: a class, a line here, a row in `table.py` and in `tests/tiny.py`."""

from kseparation.training.faults.batch_faults import (
    AccumulationNaN,
    Constant,
    FileNaN,
    FullScaleSquare,
    GainInfinite,
    Silence,
    ValidationNaN,
    WorkerError,
)
from kseparation.training.faults.codebook_faults import FrozenCodebook, RevivalStorm
from kseparation.training.faults.injection import Fault, Injection
from kseparation.training.faults.program_faults import (
    CompiledNaN,
    GradientNaN,
    LayerInfinite,
    LossDivergence,
    LossSpike,
    Nondeterministic,
)
from kseparation.training.faults.state_faults import BitFlip, LearningRate, SlotNaN
from kseparation.training.faults.table import EXPECTED, Expected

FAULTS = {
    "file_nan": FileNaN,
    "gain_infinite": GainInfinite,
    "silence": Silence,
    "constant": Constant,
    "full_scale_square": FullScaleSquare,
    "layer_infinite": LayerInfinite,
    "gradient_nan": GradientNaN,
    "bit_flip": BitFlip,
    "loss_spike": LossSpike,
    "loss_divergence": LossDivergence,
    "revival_storm": RevivalStorm,
    "frozen_codebook": FrozenCodebook,
    "learning_rate": LearningRate,
    "slot_nan": SlotNaN,
    "compiled_nan": CompiledNaN,
    "nondeterministic": Nondeterministic,
    "validation_nan": ValidationNaN,
    "accumulation_nan": AccumulationNaN,
    "worker_error": WorkerError,
}

__all__ = ["EXPECTED", "FAULTS", "Expected", "Fault", "Injection"]

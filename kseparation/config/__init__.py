"""Strict YAML -> frozen records."""

from kseparation.config.arguments import check_arguments
from kseparation.config.failure_gate import require_reproduce_failure
from kseparation.config.loading import dump_config, load_config
from kseparation.config.places import Place, Problems
from kseparation.config.records import (
    ComponentConfig,
    DataConfig,
    EvaluationConfig,
    LoggingConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "ComponentConfig",
    "DataConfig",
    "EvaluationConfig",
    "LoggingConfig",
    "LossConfig",
    "OptimizerConfig",
    "Place",
    "Problems",
    "RunConfig",
    "TrainingConfig",
    "check_arguments",
    "dump_config",
    "load_config",
    "require_reproduce_failure",
]

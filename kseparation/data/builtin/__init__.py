"""Music made on this machine: four-stem songs for training, the demo and tests, without any download."""

from kseparation.data.builtin.prepare import prepare_builtin
from kseparation.data.builtin.settings import BuiltinSettings

__all__ = ["BuiltinSettings", "prepare_builtin"]

import importlib.metadata
import json

import keras

from kseparation.workflows.environment import describe_environment


def test_the_environment_names_backend_and_versions() -> None:
    environment = describe_environment()
    assert json.loads(json.dumps(environment)) == environment
    assert environment["backend"] == keras.backend.backend()
    assert environment["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert environment["dtype_policy"] == "float32"
    assert environment["processor"] and "cpu" in environment["device"].lower()

"""On what the tests run."""

import keras

from kseparation.ops.devices import runs_on_cpu


def test_a_machine_without_accelerator_computes_on_its_processor():
    if keras.backend.backend() == "torch":
        import torch

        assert runs_on_cpu() is not torch.cuda.is_available()
    else:
        assert runs_on_cpu() is not any("gpu" in device or "tpu" in device for device in keras.distribution.list_devices())

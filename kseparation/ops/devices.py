"""What the backend computes on."""

import functools

import keras


@functools.cache
def runs_on_cpu() -> bool:
    """Returns whether there is no accelerator that the backend would take."""
    if keras.backend.backend() == "torch":
        import torch  # Keras lists no devices of torch

        return not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())

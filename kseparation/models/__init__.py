"""Architectures. To add one: a file here, a line below, a row in `tests/tiny.py`, a YAML in `configs/`."""

from kseparation.models.base import Separator
from kseparation.models.count_autoencoder import CountAutoencoder
from kseparation.models.loading import load_model
from kseparation.models.mask_unet import MaskUNet
from kseparation.models.moises_light import MoisesLight

MODELS = {
    "moises_light": MoisesLight,
    "mask_unet": MaskUNet,
    "count_autoencoder": CountAutoencoder,
}

__all__ = ["MODELS", "CountAutoencoder", "MaskUNet", "MoisesLight", "Separator", "load_model"]

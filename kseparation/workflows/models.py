"""The list of what can be trained."""

import math

from kseparation.models import MODELS


def list_models() -> list[dict]:
    """Returns a row for each preset of each architecture.

    Returns:
        A list of `{"name", "preset", "task", "stems", "parameters", "trainable_parameters", "source"}`.
    """
    rows = []
    for name, architecture in MODELS.items():
        for preset in architecture.presets():
            model = architecture.from_preset(preset)
            model.build(*([(None, None, model.channels)] if architecture.task == "separation" else []))
            rows.append(
                {
                    "name": name,
                    "preset": preset,
                    "task": architecture.task,
                    "stems": list(getattr(model, "stems", ())),
                    "parameters": model.count_params(),
                    "trainable_parameters": sum(math.prod(weight.shape) for weight in model.trainable_weights),
                    "source": architecture.source,
                }
            )
    return rows

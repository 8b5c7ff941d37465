import numpy as np

from kseparation.models import MODELS, MoisesLight
from kseparation.workflows.models import list_models
from tests.on_backend import numbers


def test_every_preset_of_every_architecture_has_a_row(monkeypatch) -> None:
    class Small(MoisesLight):
        source = "somewhere"

        @classmethod
        def presets(cls):
            return ("demo", "smaller")

        @classmethod
        def from_preset(cls, preset, **arguments):
            return super().from_preset("demo", **({"width": 8} if preset == "smaller" else {}), **arguments)

    monkeypatch.setattr("kseparation.workflows.models.MODELS", {"small": Small, "moises_light": Small})
    rows = list_models()
    assert [(row["name"], row["preset"]) for row in rows] == [(name, preset) for name in ("small", "moises_light") for preset in ("demo", "smaller")]
    model = MODELS["moises_light"].from_preset("demo")
    model.build((None, None, 2))
    expected = [sum(int(np.prod(numbers(w).shape)) for w in weights) for weights in (model.weights, model.trainable_weights)]
    assert [rows[0]["parameters"], rows[0]["trainable_parameters"]] == expected
    assert rows[1]["parameters"] < rows[0]["parameters"]
    assert (rows[0]["task"], rows[0]["stems"], rows[0]["source"]) == ("separation", ["vocals", "drums", "bass", "other"], "somewhere")

"""The same weights in the public package moises-light 0.1.5 give the same stems."""

import itertools

import numpy as np
import pytest

from kseparation.models import load_model
from kseparation.workflows import import_weights as workflow
from kseparation.workflows.import_weights import import_weights
from tests.on_backend import compute
from tests.reference.public_moises_light import TINY, write_references

STEMS = ["vocals", "drums", "bass", "other"]
PRESETS = ("paper_large", "paper_small", "fullband_small")
LENGTHS = (22528, 31337)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    cases = [{"name": f"tiny_{use_mask}", "arguments": {**TINY, "use_mask": use_mask}, "stems": STEMS, "lengths": [4097]} for use_mask in (True, False)]
    # Each length once for each preset, and each number of stems.
    for preset, (length, stems) in itertools.product(PRESETS, zip(LENGTHS, (STEMS, ["vocals"]))):
        cases.append({"name": f"{preset}_{len(stems)}", "preset": preset, "stems": stems, "lengths": [length]})
    write_references(folder, cases)
    return folder


def gives_the_same(references, name, folder, *model_config):
    out = folder / "model.keras"
    imported = import_weights("moises-light", references / f"{name}.pt", out, model_config)
    model = load_model(out)
    sounds = dict(np.load(references / f"{name}.npz"))
    lengths = [key.removeprefix("mixture_") for key in sounds if key.startswith("mixture_")]
    for length in lengths:
        stems = sounds[f"stems_{length}"]
        assert np.sqrt(np.mean(stems**2)) > 0.01
        assert np.abs(compute(model, sounds[f"mixture_{length}"]) - stems).max() < 1e-4 * np.abs(stems).max()
    return imported


@pytest.mark.parametrize("output", ["mask", "direct"])
def test_both_outputs_are_those_of_the_public_package(references, tmp_path, output):
    imported = gives_the_same(references, f"tiny_{output == 'mask'}", tmp_path, "hop_samples=128", f"output={output}")
    assert imported["preset"] is None


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("stems", [4, 1])
def test_presets_are_those_of_the_public_package(references, tmp_path, monkeypatch, preset, stems):
    # Starting torch to read each file would take longer than the model.
    monkeypatch.setattr(workflow, "read_torch_state", lambda path: dict(np.load(path.with_name(f"{path.stem}_state.npz"))))
    imported = gives_the_same(references, f"{preset}_{stems}", tmp_path, *(["stems=[vocals]"] if stems == 1 else []))
    assert imported["preset"] == preset

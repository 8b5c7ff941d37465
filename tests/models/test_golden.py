"""One set of weights, one result, on every backend: what `tests/golden/make_moises_light.py` wrote on torch."""

import numpy as np
import pytest

from kseparation.models import load_model
from tests.golden.make_moises_light import ARGUMENTS, FOLDER, VARIANTS, golden_result
from tests.on_backend import compute

GOLDEN = np.load(FOLDER / "moises_light.npz")


def largest_relative_difference(result, reference):
    assert np.sqrt(np.mean(reference**2)) > 0.01
    return np.abs(result - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_seeded_weights_give_the_stored_result(variant):
    assert largest_relative_difference(golden_result(variant, GOLDEN["mixture"]), GOLDEN[variant]) < 1e-4


def test_file_saved_on_torch_opens_here_and_gives_the_same():
    model = load_model(FOLDER / "moises_light.keras")
    assert (model.stems, model.sample_rate, model.segment_samples) == (ARGUMENTS["stems"], 8000, 600)
    assert largest_relative_difference(compute(model, GOLDEN["mixture"]), GOLDEN["mask"]) < 1e-4
    separated = model.predict_segments(GOLDEN["mixture"])
    assert largest_relative_difference(separated, GOLDEN["mask"]) < 1e-4

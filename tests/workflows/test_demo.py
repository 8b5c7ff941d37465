"""The demo on a few songs of noise: everything that it promises lies there at the end."""

import json
from pathlib import Path

import numpy as np
import pytest

from kseparation.audio.files import read_audio, write_audio
from kseparation.errors import UserError
from kseparation.workflows import demo as module
from tests.songs import SAMPLE_RATE, STEMS, write_songs
from tests.tiny_run import MODEL, write_config


def test_trains_scores_separates_and_reports(tmp_path, monkeypatch):
    root = write_songs(tmp_path / "songs", {"train": {"a": 3000, "b": 2500}, "validation": {"v": 2000}, "test": {"t": 9000}})
    stems = [read_audio(root / "test" / "t" / f"{stem}.wav")[0] for stem in STEMS]
    write_audio(root / "test" / "t" / "mixture.wav", sum(stems), SAMPLE_RATE, bits="32f")
    monkeypatch.setattr(module, "demo_config", lambda: write_config(tmp_path, {**MODEL, "transformers": 0, "bands": 1}))
    result = module.demo(minutes=0.1, out=tmp_path / "demo")
    summary = json.loads((tmp_path / "demo" / "results" / "summary.json").read_text())
    assert result["mean_sdr_global"] == summary["mean"]["sdr_global"]
    assert result["mean_trivial_sdr_global"] == summary["mean"]["trivial_sdr_global"]
    assert len((tmp_path / "demo" / "run" / "losses.log").read_text().splitlines()) == module.EPOCHS
    estimates = []
    for stem in STEMS:
        audio, rate = read_audio(tmp_path / "demo" / "separated" / "demo" / "t" / f"{stem}.wav")
        assert audio.shape == (9000, 2) and rate == SAMPLE_RATE
        estimates.append(audio)
    assert result["separated"] == str(tmp_path / "demo" / "separated" / "demo" / "t")
    # What was scored is what was written, but for the rounding to 16 bits.
    truth = np.stack(stems)
    expected = 10 * np.log10((truth**2).sum((1, 2)) / ((truth - estimates) ** 2).sum((1, 2)))
    scores = [summary["stems"][stem]["sdr_global"] for stem in STEMS]
    np.testing.assert_allclose(scores, expected, atol=0.05)
    assert Path(result["report"]) == tmp_path / "demo" / "results" / "report.html"
    report = Path(result["report"]).read_text()
    assert "<html" in report and f"{result['mean_sdr_global']:.2f}" in report
    with pytest.raises(UserError, match="`--out` holds a demo with other settings. Received: .*, --minutes=0.2. Choose another --out"):
        module.demo(minutes=0.2, out=tmp_path / "demo")


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "demo").write_text("")
    with pytest.raises(UserError, match="`--out` is not a folder"):
        module.demo(out=tmp_path / "demo")

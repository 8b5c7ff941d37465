"""The demo on a few songs of noise: everything that it promises lies there at the end."""

import json

import pytest

from kseparation.audio.reading import read_audio
from kseparation.errors import UserError
from kseparation.workflows import demo as module
from tests.songs import SAMPLE_RATE, STEMS, write_songs
from tests.tiny_run import write_config


def test_trains_scores_separates_and_reports(tmp_path, monkeypatch):
    root = write_songs(tmp_path / "songs", {"train": {"a": 3000, "b": 2500}, "validation": {"v": 2000}, "test": {"t": 9000}})
    (root / "test" / "t" / "mixture.wav").write_bytes((root / "test" / "t" / "vocals.wav").read_bytes())
    monkeypatch.setattr(module, "CONFIG", write_config(tmp_path))
    result = module.demo(minutes=0.1, out=tmp_path / "demo")
    summary = json.loads((tmp_path / "demo" / "results" / "summary.json").read_text())
    assert result["mean_sdr_global"] == summary["mean"]["sdr_global"]
    assert len((tmp_path / "demo" / "run" / "losses.log").read_text().splitlines()) == module.EPOCHS
    for stem in STEMS:
        audio, rate = read_audio(tmp_path / "demo" / "separated" / "demo" / "t" / f"{stem}.wav")
        assert audio.shape == (9000, 2) and rate == SAMPLE_RATE
    assert "<html" in (tmp_path / "demo" / "results" / "report.html").read_text()


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "demo").write_text("")
    with pytest.raises(UserError, match="`--out` is not a folder"):
        module.demo(out=tmp_path / "demo")

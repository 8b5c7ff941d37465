"""The page: complete, self-contained, safe, and small."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kseparation.reporting import report
from kseparation.reporting.report import write_report
from kseparation.reporting.report_data import Excerpt, ReportData

HISTORY = [{"kind": "train", "step": step, "loss": 1.0 / step, "l1": 0.5 / step} for step in (1, 2, 3)]
SDR = {"sdr_global": 5.25, "trivial_sdr_global": 2.0, "si_sdr": 4.0}
SUMMARY = {
    "model": "tiny", "data": "builtin", "subset": "test", "tracks": 1,
    "stems": {"vocals": SDR}, "mean": SDR,
    "trivial": {"zeros": {"vocals": 0.0, "mean": 0.0}, "constant_mask": None},
    "per_track": [{"track": "song <1>", "seconds": 2.0, "stems": {"vocals": SDR}, "mean": SDR, "trivial": {"zeros": {"vocals": 0.0}}}],
}  # fmt: skip


class Page(HTMLParser):
    """Collects the elements of a page and checks that each is closed."""

    VOID = {"meta", "img", "source", "br", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def excerpt(seconds=1.0, name="song <1>"):
    audio = np.random.default_rng(0).normal(size=(int(8000 * seconds), 1)).astype(np.float32) * 0.1
    return Excerpt(name, 0.0, 8000, audio, {"vocals": audio}, {"vocals": 0.5 * audio})


@pytest.fixture(scope="module")
def full_page(tmp_path_factory):
    data = ReportData(
        title="A run & <b>more</b>", summary=SUMMARY, history=HISTORY, excerpts=[excerpt()], notes=["A word of warning."],
        facts={"Model": {"parameters": 123}}, config_text="model: {name: '<script>alert(1)</script>'}",
    )  # fmt: skip
    return Page(
        write_report(tmp_path_factory.mktemp("report") / "new" / "report.html", data).read_text(encoding="utf-8")
    )


def test_nothing_is_loaded_from_elsewhere(full_page):
    uris = [
        value
        for _, attributes in full_page.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "href")
    ]
    assert uris
    assert all(re.match(r"data:(image/(png|webp)|audio/(mpeg|ogg));base64,", uri) for uri in uris)
    assert not full_page.all("link")
    policy = next(one["content"] for one in full_page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")


def test_it_is_well_formed_and_every_section_is_there(full_page):
    assert not full_page.open
    for words in (
        "5.25 dB",
        "2.00 dB",
        "+3.25",
        "SI-SDR of the model",
        "Song by song",
        "Listen",
        "Training",
        "Spectrograms",
        "A word of warning.",
        "parameters",
        "123",
    ):
        assert words in full_page.text
    # mixture, estimate, truth; loss, l1, scores, one spectrogram
    assert len(full_page.all("audio")) == 3
    assert len(full_page.all("img")) == len(full_page.all("source")) == 4
    assert all(image["alt"] and image["width"] and image["height"] for image in full_page.all("img"))


def test_names_and_config_are_text_and_not_markup(full_page):
    assert "A run & <b>more</b>" in full_page.text
    assert "song <1>" in full_page.text
    assert "<script>alert(1)</script>" in full_page.text
    assert len(full_page.all("script")) == 1
    assert not full_page.all("b")


def test_a_run_without_evaluation_has_its_curves_and_nothing_else(tmp_path):
    page = Page(write_report(tmp_path / "report.html", ReportData("run", history=HISTORY)).read_text(encoding="utf-8"))
    assert len(page.all("img")) == 2
    assert "Training" in page.text
    assert not any(words in page.text for words in ("Scores", "Listen", "Spectrograms", "How it was made"))
    assert not page.all("script")


def test_a_score_that_was_not_asked_for_has_no_column(tmp_path):
    scores = {**SDR, "si_sdr": None}
    summary = {**SUMMARY, "stems": {"vocals": scores}, "mean": scores}
    page = Page(write_report(tmp_path / "report.html", ReportData("run", summary=summary)).read_text(encoding="utf-8"))
    assert "best trivial" in page.text and "SI-SDR" not in page.text


def test_sound_that_does_not_fit_is_left_out_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAX_PAGE_BYTES", 600_000)
    songs = [{**SUMMARY["per_track"][0], "track": f"song {index}"} for index in range(500)]
    data = ReportData("run", summary={**SUMMARY, "per_track": songs}, excerpts=[excerpt(name="short"), excerpt(40.0, name="long")])
    file = write_report(tmp_path / "report.html", data)
    page = Page(file.read_text(encoding="utf-8"))
    assert len(page.all("audio")) == 3
    assert "long: Its sound was left out to keep this page small." in page.text
    assert "song 499" in page.text and file.stat().st_size < 600_000


def test_every_song_to_hear_is_seen_too(tmp_path):
    page = Page(write_report(tmp_path / "report.html", ReportData("run", excerpts=[excerpt(name="one"), excerpt(name="two")])).read_text(encoding="utf-8"))
    assert "Spectrograms of one" in page.text and "Spectrograms of two" in page.text
    assert len(page.all("img")) == 2


def test_an_interrupted_page_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "curve_figure", fail)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path / "report.html", ReportData("run", history=HISTORY))
    assert list(tmp_path.iterdir()) == []


def test_scores_of_museval_and_differences_have_tables_of_their_own(tmp_path, full_page):
    scores = SDR | {"sdr_museval_median": 6.5, "isr": 7.25, "sir": 8.5, "sar": None}
    difference = {"sdr_global": {"difference": 0.75, "low": -0.25, "high": 1.5}}
    comparison = {"baseline": "older <1>", "tracks": 8, "confidence": 0.95, "stems": {"vocals": difference}, "mean": difference}
    summary = SUMMARY | {"stems": {"vocals": scores}, "mean": scores, "comparison": comparison}
    page = Page(write_report(tmp_path / "report.html", ReportData("A run", summary=summary)).read_text(encoding="utf-8"))
    for words in ("BSS Eval", "6.50", "7.25", "Difference from older <1>", "+0.75 [-0.25, +1.50]", "8 songs that both"):
        assert words in page.text and words not in full_page.text

"""One HTML page for a run or an evaluation, with pictures and sound inside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from kseparation.reporting.palette import DARK, LIGHT, Palette
from kseparation.reporting.players import SongPlayers, data_uri, song_players
from kseparation.reporting.plots import (
    WIDTH_INCHES,
    curve_figure,
    curve_names,
    encode_figure,
    score_figure,
    spectrogram_figure,
)
from kseparation.reporting.report_data import Excerpt, ReportData
from kseparation.reporting.score_table import (
    BSS_EVAL_TITLES,
    COMPARED,
    TRIVIAL_TITLES,
    decibels,
    interval_text,
    score_rows,
    verdict,
)
from kseparation.storage.atomic import write_text_atomic

MAX_PAGE_BYTES = 8_000_000
_TEMPLATES = Path(__file__).parent / "templates"
_CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A figure for a light and for a dark page, as data URIs, with the words for those who cannot see it."""

    light: str
    dark: str
    alt: str
    width: int
    height: int


def write_report(path: str | Path, data: ReportData) -> Path:
    """Writes the page as one file that needs nothing else, not even a network; it stays under 8 MB.

    Songs to hear are left out from the last on where they would not fit, and the page says so.

    Args:
        path: the HTML file; it appears as a whole or not at all.
        data: what the page shows.

    Returns:
        the path.

    Example:

    >>> import tempfile
    >>> page = write_report(Path(tempfile.mkdtemp()) / "report.html", ReportData("A run that has just begun"))
    >>> page.stat().st_size < 20_000
    True
    """
    path = Path(path)
    curves = [
        _picture(
            lambda palette, name=name: curve_figure(data.history, name, palette), f"{name} over the training steps"
        )
        for name in curve_names(data.history)
    ]
    scores = _scores(data.summary) if data.summary else None
    spectrograms = _spectrograms(data.excerpts[0]) if data.excerpts else {}
    pictures = [*curves, *spectrograms.values(), *([scores["picture"]] if scores else [])]
    budget = MAX_PAGE_BYTES - 200_000 - len(data.config_text) - sum(len(one.light) + len(one.dark) for one in pictures)
    songs, notes = _players_within(data, budget)
    page = _environment().get_template("report.html").render(
        data=data, scores=scores, curves=curves, spectrograms=spectrograms, songs=songs, notes=[*data.notes, *notes]
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, page)
    return path


def _environment() -> Environment:
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["decibels"] = decibels
    environment.filters["interval"] = interval_text
    environment.filters["signed_decibels"] = lambda value: decibels(value, sign=True)
    return environment


def _scores(summary: Mapping) -> dict:
    return {
        "rows": score_rows(summary),
        "trivial": {name: TRIVIAL_TITLES[name] for name in summary["trivial"]},
        "bss_eval": BSS_EVAL_TITLES if summary["mean"].get("sdr_museval_median") is not None else {},
        "compared": {key: title for key, title in COMPARED.items() if key in summary.get("comparison", {}).get("mean", {})},
        "verdict": verdict(summary),
        "picture": _picture(lambda palette: score_figure(summary, palette), "SDR of each stem, song by song"),
    }


def _spectrograms(excerpt: Excerpt) -> dict[str, Picture]:
    def panel(stem: str) -> Picture:
        signals = {
            "mixture": excerpt.mixture,
            f"{stem}, separated": excerpt.estimates[stem],
            f"{stem}, true": excerpt.references[stem],
        }
        return _picture(
            lambda palette: spectrogram_figure(signals, excerpt.sample_rate, palette),
            f"spectrograms of the mixture and of {stem}, separated and true",
            "webp",
        )

    return {stem: panel(stem) for stem in excerpt.estimates}


def _picture(draw: Callable[[Palette], Figure], alt: str, format: str = "png") -> Picture:
    uris = {}
    for name, palette in (("light", LIGHT), ("dark", DARK)):
        figure = draw(palette)
        height = round(figure.get_figheight() * _CSS_PIXELS_PER_INCH)
        uris[name] = data_uri(encode_figure(figure, format), f"image/{format}")
    return Picture(**uris, alt=alt, width=round(WIDTH_INCHES * _CSS_PIXELS_PER_INCH), height=height)


def _players_within(data: ReportData, budget_bytes: int) -> tuple[list[SongPlayers], list[str]]:
    songs, notes = [], []
    for excerpt in data.excerpts:
        players = song_players(excerpt)
        if players.size_bytes > budget_bytes:
            notes.append(f"The sound of {excerpt.track} was left out to keep this page small.")
            continue
        budget_bytes -= players.size_bytes
        songs.append(players)
    return songs, notes

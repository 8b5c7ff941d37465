"""One HTML page for a run or an evaluation, with pictures and sound inside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from kseparation.reporting.cell_plots import cell_figure
from kseparation.reporting.palette import DARK, LIGHT, Palette
from kseparation.reporting.players import SongPlayers, data_uri, song_players
from kseparation.reporting.plots import (
    curve_figure,
    curve_names,
    encode_figure,
    score_figure,
    spectrogram_figure,
)
from kseparation.reporting.report_data import CellCodes, Excerpt, ReportData
from kseparation.reporting.score_table import (
    BSS_EVAL_TITLES,
    COMPARED,
    TRIVIAL_TITLES,
    decibels,
    interval_text,
    score_rows,
    song_rows,
    verdict,
)
from kseparation.storage.atomic import write_text_atomic

MAX_PAGE_BYTES = 8_000_000
# For what a page says around pictures and players.
RESERVE_BYTES = 20_000
_TEMPLATES = Path(__file__).parent / "templates"
_CSS_PIXELS_PER_INCH = 96
COUNT_TITLES = {
    "nll_per_entry": "held-out negative log-likelihood per entry, nats",
    "nll_per_cell": "the same summed over the genes",
    "perplexity": "perplexity of the codes",
    "active": "share of the codes in use",
    "ari": "adjusted Rand index with the labels",
    "nmi": "normalised mutual information with them",
    "purity": "purity of the codes",
}


@dataclass(frozen=True)
class Picture:
    """A figure for a light and for a dark page, as data URIs, with the words for those who cannot see it."""

    light: str
    dark: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class SongSpectrograms:
    """The pictures of one excerpt, one for each stem."""

    track: str
    pictures: Sequence[Picture]

    @property
    def size_bytes(self) -> int:
        """Returns what the pictures add to the page."""
        return sum(len(one.light) + len(one.dark) for one in self.pictures)


def write_report(path: str | Path, data: ReportData) -> Path:
    """Writes the page as one file that needs nothing else, not even a network; it stays under 8 MB.

    Songs to hear and to see are left out from the last on where they would not fit, and the page says so.

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
    cells = _cells(data.cells) if data.cells else None
    template = _environment().get_template("report.html")

    def render(spectrograms=(), songs=(), notes=()):
        return template.render(data=data, scores=scores, cells=cells, curves=curves, spectrograms=spectrograms, songs=songs, notes=[*data.notes, *notes])

    page = render(*_within(data.excerpts, MAX_PAGE_BYTES - len(render().encode()) - RESERVE_BYTES))
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
        "songs": song_rows(summary),
        "verdict": verdict(summary),
        "picture": _picture(lambda palette: score_figure(summary, palette), "SDR of each stem, song by song"),
    }


def _cells(cells: CellCodes) -> dict:
    return {
        "numbers": {COUNT_TITLES[key]: cells.scores[key] for key in COUNT_TITLES if cells.scores.get(key) is not None},
        "rows": cells.by_condition.rows(),
        "picture": _picture(lambda palette: cell_figure(cells.points, cells.groupings, palette), "cells by code, and by what is known of them"),
    }


def _spectrograms(excerpt: Excerpt) -> SongSpectrograms:
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

    return SongSpectrograms(excerpt.track, [panel(stem) for stem in excerpt.estimates])


def _picture(draw: Callable[[Palette], Figure], alt: str, format: str = "png") -> Picture:
    uris = {}
    for name, palette in (("light", LIGHT), ("dark", DARK)):
        figure = draw(palette)
        width, height = (round(inches * _CSS_PIXELS_PER_INCH) for inches in figure.get_size_inches())
        uris[name] = data_uri(encode_figure(figure, format), f"image/{format}")
    return Picture(**uris, alt=alt, width=width, height=height)


def _within(excerpts: Sequence[Excerpt], budget_bytes: int) -> tuple[list[SongSpectrograms], list[SongPlayers], list[str]]:
    """What fits of the excerpts: pictures, players, and a note for each that does not; the first song comes before the others."""
    seen, heard, notes = [], [], []
    for excerpt in excerpts:
        pictures = _spectrograms(excerpt)
        for made, kept, what in ((pictures, seen, "Its spectrograms were"), (song_players(excerpt), heard, "Its sound was")):
            if made.size_bytes > budget_bytes:
                notes.append(f"{excerpt.track}: {what} left out to keep this page small.")
                continue
            budget_bytes -= made.size_bytes
            kept.append(made)
    return seen, heard, notes

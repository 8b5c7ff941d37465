"""What the built-in music is made of, in numbers."""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from kseparation.errors import UserError, did_you_mean

# Raise it whenever the same settings would give other sounds: it names the cache folder.
GENERATOR_VERSION = 2

SPLITS = ("train", "validation", "test")
RENDERERS = ("auto", "sampled", "synthetic")
_PACKAGES = {
    "mido": "mido",
    "midirenderer": "midirenderer",
    "pretty_midi": "pretty_midi",
    "espeakng_loader": "espeakng-loader",
    "pyworld": "pyworld-prebuilt",
}


@dataclass(frozen=True)
class BuiltinSettings:
    """How much music is made, and from which seed.

    Args:
        seed: the same seed gives the same bytes with the same installed packages, whatever the number of workers;
            default 0.
        songs: number of songs by split, `train`, `validation` and `test`; a split left out has none. Default 80, 6
            and 8.
        song_seconds: length of each song in seconds, above 0; default 20.
        sample_rate: of the files, in Hz, 8000 to 192000; default 44100. They are stereo.
        renderer: `sampled` plays a soundfont and sings with a speech synthesiser (needs the extra `music`), `synthetic`
            is NumPy only and sounds plainer,
            `auto` takes the first where it is installed.
        workers: processes that work side by side, from 1; default 2.

    Raises:
        UserError: a value is outside its range.

    Example:

    >>> BuiltinSettings(songs={"train": 4, "test": 1}, song_seconds=6.0).songs["train"]
    4
    """

    seed: int = 0
    songs: Mapping[str, int] = field(default_factory=lambda: {"train": 80, "validation": 6, "test": 8})
    song_seconds: float = 20.0
    sample_rate: int = 44100
    renderer: str = "auto"
    workers: int = 2

    def __post_init__(self) -> None:
        for split, count in self.songs.items():
            if split not in SPLITS:
                raise UserError(f"`songs` has an unknown split. Received: {split!r}. {did_you_mean(split, SPLITS)}")
            if count < 0:
                raise UserError(f"`songs` must not be negative. Received: {split}={count}.")
        if self.songs.get("train", 0) < 1:
            raise UserError(
                f"`songs` needs at least one in `train`. Received: songs={dict(self.songs)}. Set `train` to 1 or more."
            )
        if not 0.0 < self.song_seconds < float("inf"):
            raise UserError(f"`song_seconds` must be positive. Received: song_seconds={self.song_seconds}. Try 20.")
        if not 8000 <= self.sample_rate <= 192000:
            raise UserError(
                f"`sample_rate` must be 8000 to 192000 Hz. Received: sample_rate={self.sample_rate}. Try 44100."
            )
        if self.renderer not in RENDERERS:
            raise UserError(
                f"`renderer` is unknown. Received: renderer={self.renderer!r}. {did_you_mean(self.renderer, RENDERERS)}"
            )
        if self.workers < 1:
            raise UserError(f"`workers` must be at least 1. Received: workers={self.workers}.")
        if self.seed < 0:
            raise UserError(f"`seed` must not be negative. Received: seed={self.seed}.")


def missing_packages() -> tuple[str, ...]:
    """Returns the distributions of the extra `music` that are not installed, without importing any."""
    return tuple(name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None)


def resolve_renderer(renderer: str) -> tuple[str, str | None]:
    """Returns `sampled` or `synthetic`, and the reason where `auto` could not take the better one.

    Raises:
        UserError: `sampled` was asked for and packages are missing.
    """
    missing = missing_packages() if renderer != "synthetic" else ()
    if renderer == "sampled" and missing:
        raise UserError(
            f"`renderer` sampled needs packages that are not installed. Received: missing {', '.join(missing)}. "
            "Install them with `pip install 'kseparation[music]'`."
        )
    if renderer != "auto":
        return renderer, None
    if missing:
        return (
            "synthetic",
            f"{', '.join(missing)} not installed; `pip install 'kseparation[music]'` gives richer sound",
        )
    return "sampled", None


def settings_digest(settings: BuiltinSettings, renderer: str) -> str:
    """Returns 16 hexadecimal digits that change with all that changes the bytes; the number of workers does not."""
    record = asdict(settings) | {"songs": dict(settings.songs), "renderer": renderer, "version": GENERATOR_VERSION}
    del record["workers"]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]

"""What `separate` will do, settled and checked before it begins: inputs, output names, formats, places."""

import contextlib
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from kseparation.audio.files import AudioInfo, audio_info, check_output_format
from kseparation.errors import UserError, did_you_mean
from kseparation.storage.atomic import read_json, require_writable

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64")
TEMPLATE_FIELDS = ("model", "track", "stem", "ext")
CLIP_MODES = ("joint", "none")
# Besides what some system refuses, the marks that turn the direction of writing: they make a name look like another one.
_FORBIDDEN = set('<>:"/\\|?*\u200e\u200f') | {chr(code) for code in [*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]}
_MAX_NAME_BYTES = 200
# Names of devices on Windows, with any suffix.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}


@dataclass(frozen=True)
class SeparateSettings:
    """How `separate` works; each field is a flag of the command.

    Args:
        out: folder of all outputs. Defaults to "separated".
        stems: names of the stems to write; None writes all. Defaults to None.
        two_stems: a stem to write together with `no_<stem>`, all the rest. Defaults to None.
        overlap: part of a segment shared with the next, 0 to below 1. Defaults to 0.5.
        shifts: passes at random offsets, averaged. Defaults to 0.
        format: "wav", "flac", "ogg" or "mp3". Defaults to "wav".
        bits: "16", "24" or "32f". Defaults to "16".
        clip_mode: "joint" turns all stems down together by one gain when one would clip; "none" lets it clip. Float wav
            cannot clip and is never turned down. Defaults to "joint".
        filename: template of the path below `out`, of the fields {model} {track} {stem} {ext}.
        residual: also write what is missing to the mixture, so that all files add up to it. Defaults to False.
        skip_existing: skip tracks whose manifest proves that they are done. Defaults to False.
        jobs: tracks that may be encoded in the background while the model works on the next, from 1. Defaults to 1.
        batch_size: segments per call of the model, from 1. Defaults to 4.
    """

    out: str | Path = "separated"
    stems: tuple[str, ...] | None = None
    two_stems: str | None = None
    overlap: float = 0.5
    shifts: int = 0
    format: str = "wav"
    bits: str = "16"
    clip_mode: str = "joint"
    filename: str = "{model}/{track}/{stem}.{ext}"
    residual: bool = False
    skip_existing: bool = False
    jobs: int = 1
    batch_size: int = 4

    def __post_init__(self) -> None:
        if self.clip_mode not in CLIP_MODES:
            raise UserError(
                f"`clip_mode` is unknown. Received: {self.clip_mode!r}. {did_you_mean(self.clip_mode, CLIP_MODES)}"
            )
        if not 0 <= self.overlap < 1:
            raise UserError(f"`overlap` must be from 0 to below 1. Received: overlap={self.overlap}.")
        for name, least in (("shifts", 0), ("jobs", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UserError(f"`{name}` must be at least {least}. Received: {name}={getattr(self, name)}.")
        if self.stems is not None and self.two_stems is not None:
            raise UserError("`stems` and `two_stems` exclude each other. Received: both. Leave one out.")
        check_output_format(self.format, self.bits)
        _template_fields(self.filename)

    def as_recorded(self) -> dict:
        """Returns the settings that decide what is in the files, for the manifest."""
        names = ("stems", "two_stems", "overlap", "shifts", "format", "bits", "clip_mode", "residual")
        recorded = {name: getattr(self, name) for name in names}
        return {**recorded, "stems": None if self.stems is None else list(self.stems)}


@dataclass(frozen=True)
class TrackPlan:
    """One input file and where its outputs go: `outputs` by output name."""

    track: str
    info: AudioInfo
    outputs: dict[str, Path]
    manifest: Path


def output_weights(model_stems: Sequence[str], settings: SeparateSettings) -> dict[str, np.ndarray]:
    """Returns each output as a weighted sum: one weight for each stem of the model, and a last one for the mixture.

    The residual is not among them: it is what remains after these were rounded.

    Example:

    >>> weights = output_weights(("vocals", "drums", "bass"), SeparateSettings(two_stems="vocals"))
    >>> weights["no_vocals"]
    array([0., 1., 1., 0.], dtype=float32)
    """
    unit = dict(zip([*model_stems, None], np.eye(len(model_stems) + 1, dtype=np.float32), strict=True))
    chosen = [settings.two_stems] if settings.two_stems is not None else settings.stems
    flag = "two_stems" if settings.two_stems is not None else "stems"
    for stem in chosen or ():
        if stem not in model_stems:
            raise UserError(
                f"`{flag}` names no stem of this model. Received: {stem!r}. {did_you_mean(stem, model_stems)}"
            )
    if chosen is not None and (not chosen or len(set(chosen)) != len(chosen)):
        raise UserError(f"`stems` must name at least one stem, each once. Received: {list(chosen)}.")
    weights = {stem: unit[stem] for stem in chosen or model_stems}
    if settings.two_stems is not None:
        others = [unit[stem] for stem in model_stems if stem != settings.two_stems]
        rest = np.sum(others, axis=0) if others else unit[None] - unit[settings.two_stems]
        weights[f"no_{settings.two_stems}"] = rest
    if settings.residual and "residual" in weights:
        raise UserError("`residual` cannot be written beside a stem of that name. Leave one out.")
    return weights


def plan_tracks(
    inputs: Sequence[str | Path], model_stems: Sequence[str], settings: SeparateSettings, model_name: str
) -> list[TrackPlan]:
    """Returns one plan per input file, in order, after checking all that can be checked without separating.

    Folders are searched with their subfolders; a file named twice counts once.

    Raises:
        UserError: an input is missing or bad, an output cannot be written, or two outputs would have one name.
    """
    out = Path(settings.out)
    names = [*output_weights(model_stems, settings), *(["residual"] if settings.residual else [])]
    plans = []
    for path, track in _expanded(inputs, out):
        info = audio_info(path)
        check_output_format(settings.format, settings.bits, info.sample_rate, info.channels, info.samples)
        outputs = {name: out / _filled(settings, model_name, track, name) for name in names}
        plans.append(TrackPlan(track, info, outputs, _manifest_path(settings, model_name, track)))
    _require_distinct(plans)
    for plan in plans:
        for path in [*plan.outputs.values(), plan.manifest]:
            require_writable(path)
    return plans


def _expanded(inputs: Sequence[str | Path], out: Path) -> list[tuple[Path, str]]:
    found: dict[Path, tuple[Path, str]] = {}
    for given in inputs:
        if not str(given):
            raise UserError("An input must not be empty. Received: ''. Name a file or a folder; `.` is the one you are in.")
        given = Path(given)
        if not _is_folder(given):
            found.setdefault(_resolved(given), (given, _safe_name(given.stem)))
            continue
        made = _made_before(given, out)
        audio = [path for path in sorted(given.rglob("*")) if _is_song(path, given, out)]
        files = [path for path in audio if path.resolve() not in made]
        if audio and not files:
            raise UserError(f"`{given}` holds nothing but outputs of earlier calls. To separate them further choose another --out.")
        if not files:
            raise UserError(f"`{given}` holds no audio files ({', '.join(AUDIO_SUFFIXES)}). Name a folder that does.")
        for path in files:
            parts = path.relative_to(given).with_suffix("").parts
            found.setdefault(path.resolve(), (path, "/".join(map(_safe_name, parts))))
    if not found:
        raise UserError("Nothing to separate: at least one file or folder is required. Received: none.")
    return list(found.values())


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no system takes
        return False


def _resolved(path: Path) -> Path:
    """The file behind links; a path that leads nowhere, as a link to itself does, is refused when it is opened."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path


def _is_song(path: Path, folder: Path, out: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    own = path.resolve().is_relative_to(out.resolve()) and not folder.resolve().is_relative_to(out.resolve())
    return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file() and not hidden and not own


def _made_before(folder: Path, out: Path) -> set[Path]:
    """Outputs of earlier calls with this `out`, as their manifests below the folder name them: they are no songs, also where the folder is `out` itself."""
    made = set()
    for file in folder.rglob("*manifest.json"):
        with contextlib.suppress(Exception):  # whatever a foreign file of that name holds, it names no output
            if file.resolve().is_relative_to(out.resolve()):
                made.update((file.parent / name).resolve() for name in files_of_manifest(read_json(file)))
    return made


def files_of_manifest(manifest: Mapping) -> list[str]:
    """Returns the files of a track, relative to its manifest: those of the last call and what is left of earlier ones."""
    return [*(output["file"] for output in manifest["outputs"].values()), *manifest.get("earlier_outputs", [])]


def _safe_name(name: str) -> str:
    """Returns a name that is one path component on any system."""
    name = name.encode("utf-8", "replace").decode()  # file names need not be valid text
    name = "".join("_" if char in _FORBIDDEN else char for char in name)
    name = name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore").rstrip(" .").lstrip(" ")
    return f"_{name}" if not name or name.partition(".")[0].strip().upper() in _DEVICES else name


def _template_fields(template: str) -> set[str]:
    def refuse(reason: str) -> UserError:
        fields = " ".join("{%s}" % field for field in TEMPLATE_FIELDS)
        return UserError(f"`filename` {reason}. Received: {template!r}. Use a path below `out` of the fields {fields}.")

    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise refuse(f"is no template: {error}") from None
    fields = set()
    for _, field, specification, conversion in parsed:
        if field is None:
            continue
        if field in TEMPLATE_FIELDS and (specification or conversion):
            raise refuse(f"takes {{{field}}} without a conversion or format")
        if field not in TEMPLATE_FIELDS:
            hint = did_you_mean(field, TEMPLATE_FIELDS)
            raise refuse(f"holds the unknown field {{{field}}}. {hint.rstrip('.')}")
        fields.add(field)
    path = PurePosixPath(template)
    if path.is_absolute() or ".." in path.parts or not path.name or template.endswith("/"):
        raise refuse("must name a file inside `out`")
    if any(char in "\\\0" or ord(char) < 32 for char in template):
        raise refuse("must not hold backslashes or control characters")
    return fields


def _filled(settings: SeparateSettings, model: str, track: str, stem: str) -> Path:
    # Only track names may hold slashes, between parts made safe one by one.
    return Path(
        settings.filename.format(model=_safe_name(model), track=track, stem=_safe_name(stem), ext=settings.format)
    )


def _manifest_path(settings: SeparateSettings, model: str, track: str) -> Path:
    """Returns `manifest.json` in the track's own folder, or `<track>.manifest.json` in one that tracks share."""
    folders = []
    for part in PurePosixPath(settings.filename).parts[:-1]:
        if "{stem}" in part:
            break
        folders.append(part)
    own = any("{track}" in part for part in folders)
    name = "manifest.json" if own else "{track}.manifest.json"
    template = "/".join([*folders, name])
    return Path(settings.out) / template.format(model=_safe_name(model), track=track, ext=settings.format)


def _require_distinct(plans: list[TrackPlan]) -> None:
    taken: dict[str, str] = {os.path.realpath(plan.info.path): "is an input" for plan in plans}
    for plan in plans:
        for name, path in [*plan.outputs.items(), ("manifest", plan.manifest)]:
            place = os.path.realpath(path)
            if place in taken:
                raise UserError(
                    f"`{path}` would be written for {name} of `{plan.info.path}`, but it {taken[place]}. "
                    "Rename an input or give the inputs in two calls with their own `out`, or use {track} and {stem} in `filename`."
                )
            taken[place] = f"is already {name} of `{plan.info.path}`"

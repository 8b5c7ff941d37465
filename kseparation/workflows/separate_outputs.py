"""The second half of `separate`: stems that lie on the disk as raw floats become finished files."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseparation.audio.files import AudioReader, AudioWriter, quantize
from kseparation.audio.sound_check import SoundCheck
from kseparation.storage.atomic import atomic_file, explained_write_errors, read_json, write_json
from kseparation.storage.hashes import file_sha256
from kseparation.workflows.separate_plan import SeparateSettings, TrackPlan, files_of_manifest

BLOCK_SAMPLES = 65536
LOSSY_FORMATS = ("ogg", "mp3")


@dataclass(frozen=True)
class ModelIdentity:
    """The model by name and by the SHA-256 of its file."""

    name: str
    hash: str


class RawStems:
    """Separated stems of one group of channels: interleaved float32 on the disk, since a song need not fit into memory.

    Args:
        path: the file.
        stems: number of stems.
        channels: channels of this group.
    """

    def __init__(self, path: Path, stems: int, channels: int) -> None:
        self.path, self.stems, self.channels = path, stems, channels

    def append(self, block: np.ndarray) -> None:
        """Appends float32 `(n, stems * channels)`."""
        with explained_write_errors(self.path), open(self.path, "ab") as file:
            file.write(np.ascontiguousarray(block, np.float32).data)

    def read(self, start: int, samples: int) -> np.ndarray:
        """Returns float32 `(stems, samples, channels)`."""
        width = self.stems * self.channels
        flat = np.fromfile(self.path, np.float32, samples * width, offset=4 * start * width)
        return flat.reshape(samples, self.stems, self.channels).transpose(1, 0, 2)


def finish_track(
    plan: TrackPlan,
    groups: list[RawStems],
    weights: Mapping[str, np.ndarray],
    settings: SeparateSettings,
    model: ModelIdentity,
    folder: Path,
) -> dict:
    """Encodes the outputs of one track in `folder`, moves them to their names and writes the manifest last.

    Returns:
        The manifest.
    """
    check = SoundCheck(plan.info)
    peak = _peak(plan, groups, weights, settings, check)
    gain = _gain(peak, len(weights), settings)
    warnings = check.warnings()
    if peak * gain > 1 and not (settings.format == "wav" and settings.bits == "32f"):
        warnings.append(f"peaks of {peak:.4g} were clipped to full scale")
    encoded = _encode(plan, groups, weights, settings, gain, folder)
    manifest = {
        "model": {"name": model.name, "sha256": model.hash},
        "input": {
            "path": _printable(plan.info.path),
            "sha256": file_sha256(plan.info.path),
            "sample_rate": plan.info.sample_rate,
            "samples": plan.info.samples,
            "channels": plan.info.channels,
        },
        "settings": settings.as_recorded(),
        "gain": gain,
        "peak_before_gain": peak,
        "outputs": {
            name: {"file": os.path.relpath(plan.outputs[name], plan.manifest.parent), "sha256": file_sha256(path)}
            for name, path in encoded.items()
        },
        "warnings": warnings,
    }
    earlier = _earlier_outputs(plan.manifest, manifest)
    if earlier:
        manifest["earlier_outputs"] = earlier
    for name, path in encoded.items():
        with explained_write_errors(plan.outputs[name]):
            plan.outputs[name].parent.mkdir(parents=True, exist_ok=True)
            _move(path, plan.outputs[name])
    write_json(plan.manifest, manifest)
    return manifest


def _earlier_outputs(file: Path, manifest: dict) -> list[str]:
    """Files that earlier calls with another format or other stems left, so that they go on to be known as outputs."""
    with contextlib.suppress(Exception):  # no manifest, or a foreign one
        now = files_of_manifest(manifest)
        return sorted(name for name in {*files_of_manifest(read_json(file))} - {*now} if (file.parent / name).is_file())
    return []


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_file(target) as temporary:  # a folder below `out` lies on another disk
            shutil.copyfile(source, temporary)


def finished_manifest(plan: TrackPlan, settings: SeparateSettings, model: ModelIdentity) -> dict | None:
    """Returns the manifest of a track that is done with this model and settings, its outputs unchanged, else None."""
    if not plan.manifest.is_file():
        return None
    with contextlib.suppress(Exception):  # whatever a foreign or damaged manifest holds, it proves nothing
        manifest = read_json(plan.manifest)
        outputs = {
            name: {"file": os.path.relpath(path, plan.manifest.parent), "sha256": file_sha256(path)}
            for name, path in plan.outputs.items()
        }
        if (
            manifest["model"]["sha256"] == model.hash
            and manifest["settings"] == settings.as_recorded()
            and manifest["outputs"] == outputs
            and manifest["input"]["sha256"] == file_sha256(plan.info.path)
        ):
            return manifest
    return None


def _blocks(
    plan: TrackPlan, groups: list[RawStems], weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (outputs, mixture): float32 `(outputs, n, channels)` and `(n, channels)` at the rate of the input."""
    matrix = np.stack(list(weights.values()))
    start = 0
    with AudioReader(plan.info.path) as reader:
        for mixture in reader.blocks(BLOCK_SAMPLES):
            stems = np.concatenate([group.read(start, len(mixture)) for group in groups], axis=-1)
            sources = np.concatenate([stems, mixture[None]])
            yield np.tensordot(matrix, sources, axes=1), mixture
            start += len(mixture)


def _peak(plan, groups, weights, settings, check: SoundCheck) -> float:
    """Returns the largest absolute sample of all outputs, residual included, and shows the input to `check`."""
    peak = 0.0
    for outputs, mixture in _blocks(plan, groups, weights):
        check.update(mixture)
        peak = max(peak, float(np.abs(outputs).max()))
        if settings.residual:
            peak = max(peak, float(np.abs(mixture - outputs.sum(axis=0)).max()))
    return peak


def _gain(peak: float, outputs: int, settings: SeparateSettings) -> float:
    if settings.clip_mode == "none" or settings.bits == "32f":
        return 1.0
    # Full scale is one step short of 1, and a residual may be off by one step for each output it makes up for.
    limit = 1.0 - (1 + outputs * settings.residual) * 2.0 ** (1 - int(settings.bits))
    return min(1.0, limit / peak) if peak > 0 else 1.0


def _encode(plan, groups, weights, settings, gain: float, folder: Path) -> dict[str, Path]:
    info = plan.info
    paths = {name: folder / f"{index}.{settings.format}" for index, name in enumerate(plan.outputs)}
    rounding = "32f" if settings.format in LOSSY_FORMATS else settings.bits
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(AudioWriter(path, info.sample_rate, info.channels, settings.format, settings.bits))
            for path in paths.values()
        ]
        for outputs, mixture in _blocks(plan, groups, weights):
            outputs = np.float32(gain) * outputs
            if settings.residual:
                # From what the files hold after rounding, so that the files themselves add up.
                written = quantize(outputs, rounding).sum(axis=0)
                outputs = np.concatenate([outputs, (np.float32(gain) * mixture - written)[None]])
            for writer, output in zip(writers, outputs, strict=True):
                writer.write(output)
    return paths


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()

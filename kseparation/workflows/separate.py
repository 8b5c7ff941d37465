"""Files in, stems out: the command `separate`."""

import contextlib
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kseparation.audio.files import AudioReader
from kseparation.audio.resampled_reader import ResampledReader, convert_channels
from kseparation.audio.resampling import StreamResampler
from kseparation.audio.sound_check import scale_to_music
from kseparation.errors import MachineError
from kseparation.storage.atomic import TEMPORARY_PREFIX, explained_write_errors
from kseparation.storage.run_lock import RunLock
from kseparation.workflows.separate_outputs import (
    LOSSY_FORMATS,
    ModelIdentity,
    RawStems,
    finish_track,
    finished_manifest,
)
from kseparation.workflows.separate_plan import SeparateSettings, TrackPlan, output_weights, plan_tracks
from kseparation.workflows.whole_track import separate_blocks

_STALE_SECONDS = 60


def separate(
    inputs: Sequence[str | Path], model: Any, settings: SeparateSettings, model_name: str, model_hash: str
) -> dict:
    """Separates files into stems of the same sample rate, length and channel count.

    All inputs and all output names are checked before the first is separated. Stems pass through temporary files beside
    the outputs, so a song of any length needs the memory of a few segments. A track's outputs appear together, its
    `manifest.json` last. An interrupted run leaves finished tracks and nothing else; `skip_existing` continues it.

    Args:
        inputs: audio files, and folders that are searched for them.
        model: a Separator.
        settings: see SeparateSettings.
        model_name: for {model} in file names, and the manifest.
        model_hash: SHA-256 of the model file, for the manifest.

    Returns:
        {"model", "model_sha256", "out", "tracks": [{"track", "input", "manifest", "outputs": {name: path}, "gain",
        "seconds", "realtime_factor", "skipped", "warnings"}]}
    """
    identity = ModelIdentity(model_name, model_hash)
    weights = output_weights(model.stems, settings)
    plans = plan_tracks(inputs, model.stems, settings, model_name)
    if settings.residual and settings.format in LOSSY_FORMATS:
        _say(f"{settings.format} files add up to the mixture only nearly; wav and flac do so within rounding")
    manifests: dict[int, Future | dict] = {}
    factors: dict[int, float | None] = {}
    with _work_folder(Path(settings.out)) as work, _encoders(settings.jobs) as encoders:
        for index, plan in enumerate(plans):
            done = finished_manifest(plan, settings, identity) if settings.skip_existing else None
            factors[index] = None
            if done is not None:
                manifests[index] = done
                _say(f"{plan.track}: done before, skipped")
                continue
            folder = work / str(index)
            folder.mkdir()
            started = time.perf_counter()
            groups = _separate_track(plan, model, settings, folder)
            factors[index] = plan.info.samples / plan.info.sample_rate / (time.perf_counter() - started)
            _wait(manifests, settings.jobs - 1)  # bounds the raw stems on the disk
            manifests[index] = encoders.submit(
                _finish, plan, groups, weights, settings, identity, folder, factors[index]
            )
        _wait(manifests, 0)
    tracks = [_summary(plan, manifests[index], factors[index]) for index, plan in enumerate(plans)]
    return {"model": model_name, "model_sha256": model_hash, "out": str(settings.out), "tracks": tracks}


def channel_groups(file_channels: int, model_channels: int) -> list[list[int]]:
    """Returns which channels of a file are separated together: as many as the model takes, and what is left one by one.

    Example:

    >>> channel_groups(5, 2)
    [[0, 1], [2, 3], [4]]
    """
    full = file_channels // model_channels * model_channels
    groups = [list(range(first, first + model_channels)) for first in range(0, full, model_channels)]
    return groups + [[channel] for channel in range(full, file_channels)]


def _separate_track(plan: TrackPlan, model, settings: SeparateSettings, folder: Path) -> list[RawStems]:
    info = plan.info
    groups = channel_groups(info.channels, model.channels)
    scale, raw = _scale(info.path), []
    with ResampledReader(info.path, model.sample_rate) as reader, _progress(plan, len(groups)) as advance:
        for index, columns in enumerate(groups):
            stems = RawStems(folder / f"{index}.raw", len(model.stems), len(columns))
            back = StreamResampler(model.sample_rate, info.sample_rate, stems.stems * stems.channels)

            def read(start: int, samples: int, columns: list[int] = columns) -> np.ndarray:
                return _scaled(convert_channels(reader.read(start, samples)[:, columns], model.channels), scale)

            blocks = separate_blocks(
                model, read, reader.samples, settings.overlap, settings.shifts, settings.batch_size, advance
            )
            for block in blocks:
                narrow = _scaled(convert_channels(block, len(columns)), 1 / scale)
                stems.append(back.process(narrow.transpose(1, 0, 2).reshape(narrow.shape[1], -1)))
            stems.append(back.finish(info.samples))
            raw.append(stems)
    return raw


def _scale(path: Path) -> float:
    """The factor by which a file is brought to the loudness of music, where it is far from it."""
    with AudioReader(path) as reader:
        return scale_to_music(max(float(np.abs(block).max()) for block in reader.blocks()))


def _scaled(audio: np.ndarray, scale: float) -> np.ndarray:
    # A factor for the smallest numbers of float32 is beyond its largest.
    return audio if scale == 1 else (audio * np.float64(scale)).astype("float32")


def _finish(plan, groups, weights, settings, identity, folder: Path, factor: float) -> dict:
    manifest = finish_track(plan, groups, weights, settings, identity, folder)
    shutil.rmtree(folder)
    seconds = plan.info.samples / plan.info.sample_rate
    _say(f"{plan.track}: {seconds:.1f} s of audio, {factor:.2f}x realtime, in `{plan.manifest.parent}`")
    for warning in manifest["warnings"]:
        _say(f"{plan.track}: {warning}")
    return manifest


def _wait(manifests: dict[int, Future | dict], allowed: int) -> None:
    """Waits until at most `allowed` tracks are still being encoded; an error of theirs is raised here."""
    for future in [one for one in manifests.values() if isinstance(one, Future) and one.done()]:
        future.result()
    running = [one for one in manifests.values() if isinstance(one, Future) and not one.done()]
    for future in running[: max(0, len(running) - allowed)]:
        future.result()


def _summary(plan: TrackPlan, manifest: Future | dict, factor: float | None) -> dict:
    skipped = not isinstance(manifest, Future)
    manifest = manifest if skipped else manifest.result()
    return {
        "track": plan.track,
        "input": manifest["input"]["path"],
        "manifest": str(plan.manifest),
        "outputs": {name: str(path) for name, path in plan.outputs.items()},
        "gain": manifest["gain"],
        "seconds": plan.info.samples / plan.info.sample_rate,
        "realtime_factor": factor,
        "skipped": skipped,
        "warnings": manifest["warnings"],
    }


@contextlib.contextmanager
def _encoders(jobs: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="encode")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """Yields a folder for temporary files beside the outputs, removed at the end, and removes those of killed runs."""
    with explained_write_errors(out):
        created = [folder for folder in [out, *out.parents] if not folder.exists()]
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(TEMPORARY_PREFIX + "separate-*"):
            with contextlib.suppress(MachineError, FileNotFoundError):
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    with RunLock(left):  # a live run holds it
                        shutil.rmtree(left, ignore_errors=True)
        work = out / f"{TEMPORARY_PREFIX}separate-{secrets.token_hex(4)}"
        work.mkdir()
    try:
        with RunLock(work):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError):  # folders made for outputs that did not come
            for folder in created:
                folder.rmdir()


@contextlib.contextmanager
def _progress(plan: TrackPlan, groups: int) -> Iterator[Callable[[int, int], None]]:
    seconds = plan.info.samples / plan.info.sample_rate
    with tqdm(desc=plan.track, unit="segment", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False) as bar:
        started, before = time.perf_counter(), 0

        def advance(done: int, total: int) -> None:
            nonlocal before
            bar.total = total * groups
            bar.update(done - before)
            before = 0 if done == total else done
            elapsed = time.perf_counter() - started
            bar.set_postfix_str(f"{seconds * bar.n / bar.total / elapsed:.2f}x realtime")

        yield advance


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)

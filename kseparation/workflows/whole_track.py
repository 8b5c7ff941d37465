"""Separation of whole tracks: cut, predicted in batches, joined, in memory that does not grow with the track."""

from collections.abc import Callable, Iterator

import numpy as np

from kseparation.audio.segment_plan import OverlapAdd, SegmentPlan
from kseparation.errors import CheckFailed, UserError

# Random shifts move the cuts by up to this, as is the custom of the field.
MAX_SHIFT_SECONDS = 0.5


def separate_blocks(
    model,
    read: Callable[[int, int], np.ndarray],
    samples: int,
    overlap: float = 0.5,
    shifts: int = 0,
    batch_size: int = 4,
    on_segment: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Separates a track of any length, block by block.

    Segments of the model's own length overlap and fade into each other; the last is filled up with silence, and so is
    the last batch, so that the model sees one shape only. Each shift separates the whole track again with other cuts,
    and the results are averaged; the time is multiplied by the number of shifts.

    Args:
        model: a Separator.
        read: `read(start, samples)` returns float32 `(n, channels)` at the model's rate and channel count; n is
            `samples`, or less where the track ends.
        samples: length of the track at the model's rate, from 1.
        overlap: part of a segment shared with the next, 0 to below 1. Defaults to 0.5.
        shifts: number of passes at random offsets, averaged; 0 is one pass from the start. Defaults to 0.
        batch_size: segments per call of the model, from 1. Defaults to 4.
        on_segment: called as `on_segment(done, total)` after each batch.
        seed: of the offsets. Defaults to 0.

    Yields:
        float32 `(stems, n, channels)` in order, `samples` in all.

    Raises:
        CheckFailed: the model gives NaN or infinity.
    """
    if shifts < 0 or batch_size < 1:
        raise UserError(
            "`shifts` must be at least 0 and `batch_size` at least 1. "
            f"Received: shifts={shifts}, batch_size={batch_size}."
        )
    longest = int(MAX_SHIFT_SECONDS * model.sample_rate)
    offsets = np.random.default_rng(seed).integers(0, longest + 1, shifts).tolist() or [0]
    plans = [SegmentPlan(samples + offset, model.segment_samples, overlap) for offset in offsets]
    total, done = sum(len(plan.starts) for plan in plans), 0

    def count(segments: int) -> None:
        nonlocal done
        done += segments
        if on_segment is not None:
            on_segment(done, total)

    passes = [
        _one_pass(model, read, plan, offset, batch_size, count) for plan, offset in zip(plans, offsets, strict=True)
    ]
    return passes[0] if len(passes) == 1 else _averaged(passes)


def separate_array(
    model,
    mixture: np.ndarray,
    overlap: float = 0.5,
    shifts: int = 0,
    batch_size: int = 4,
    on_segment: Callable[[int, int], None] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Separates a mixture in memory; arguments as for `separate_blocks`.

    Args:
        mixture: float32 `(samples, channels)` at the model's rate and channel count.

    Returns:
        float32 `(stems, samples, channels)`.
    """
    if mixture.ndim != 2 or mixture.shape[1] != model.channels:
        raise UserError(f"`mixture` must have shape (samples, {model.channels}). Received: shape={mixture.shape}.")

    def read(start: int, count: int) -> np.ndarray:
        return mixture[start : start + count]

    blocks = separate_blocks(model, read, len(mixture), overlap, shifts, batch_size, on_segment, seed)
    return np.concatenate(list(blocks), axis=1)


def _one_pass(model, read, plan: SegmentPlan, offset: int, batch_size: int, count) -> Iterator[np.ndarray]:
    """Separates the track as if `offset` samples of silence stood before it."""
    join = OverlapAdd(plan, len(model.stems), model.channels)
    position = -offset
    for first in range(0, len(plan.starts), batch_size):
        starts = plan.starts[first : first + batch_size]
        batch = np.zeros((batch_size, plan.segment_samples, model.channels), np.float32)
        for row, start in zip(batch, starts, strict=False):
            silent = max(0, offset - start)
            if silent < plan.segment_samples:
                piece = read(start + silent - offset, plan.segment_samples - silent)
                row[silent : silent + len(piece)] = piece
        estimates = model.predict_segments(batch)[: len(starts)]
        _require_sound(estimates, model, plan, starts[0] - offset)
        for estimate in estimates:
            block = join.add(estimate)
            skip = max(0, -position)
            position += block.shape[1]
            if block.shape[1] > skip:
                yield block[:, skip:]
        count(len(starts))


def _require_sound(estimates: np.ndarray, model, plan: SegmentPlan, start: int) -> None:
    expected = (len(model.stems), plan.segment_samples, model.channels)
    if estimates.shape[1:] != expected:
        raise CheckFailed(f"The model must give {expected} for each segment. Received: {estimates.shape[1:]}.")
    with np.errstate(invalid="ignore"):
        if np.isfinite(np.sum(estimates, dtype=np.float64)):
            return
    stem = model.stems[np.argwhere(~np.isfinite(estimates))[0][1]]
    raise CheckFailed(
        f"The model gives values that are no numbers for stem `{stem}`, in the batch from "
        f"{max(0, start) / model.sample_rate:.1f} s on, though the input is finite. "
        "Its weights are damaged, or half precision overflows."
    )


def _averaged(passes: list[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Averages passes whose blocks end at different samples, holding only what one is ahead of another."""
    pending = [next(one) for one in passes]
    while True:
        ready = min(block.shape[1] for block in pending)
        yield np.mean([block[:, :ready] for block in pending], axis=0, dtype=np.float32)
        for index, one in enumerate(passes):
            pending[index] = pending[index][:, ready:]
            if not pending[index].shape[1]:
                pending[index] = next(one, None)
        if any(block is None for block in pending):
            return

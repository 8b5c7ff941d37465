"""A track cut into overlapping segments and joined again."""

import numpy as np

from kseparation.errors import UserError


class SegmentPlan:
    """Where the segments of a track begin, and how they fade into each other.

    Segments are weighted by a raised cosine and divided by the sum of the weights that meet at a sample, so that
    segments which agree give exactly themselves. More overlap hides the edges of segments, where a model hears less
    context, and costs time in proportion to 1 / (1 - overlap). The last segment reaches beyond the track.

    Args:
        samples: length of the track, from 1.
        segment_samples: length of a segment, from 1.
        overlap: part of a segment shared with the next, 0 to below 1. Defaults to 0.5.

    Example:

    >>> SegmentPlan(samples=10, segment_samples=4, overlap=0.5).starts
    range(0, 7, 2)
    """

    def __init__(self, samples: int, segment_samples: int, overlap: float = 0.5) -> None:
        if samples < 1 or segment_samples < 1:
            raise UserError(
                f"`samples` and `segment_samples` must be at least 1. Received: samples={samples}, "
                f"segment_samples={segment_samples}."
            )
        if not 0 <= overlap < 1:
            raise UserError(f"`overlap` must be from 0 to below 1. Received: overlap={overlap}.")
        self.samples, self.segment_samples = samples, segment_samples
        self.hop_samples = max(1, round(segment_samples * (1 - overlap)))
        beyond_first = max(0, samples - segment_samples)
        self.starts = range(0, -(-beyond_first // self.hop_samples) * self.hop_samples + 1, self.hop_samples)

    @property
    def window(self) -> np.ndarray:
        """Weights of one segment before division, float32 `(segment_samples,)`, all positive."""
        phase = (np.arange(self.segment_samples) + 0.5) / self.segment_samples
        return (np.sin(np.pi * phase) ** 2).astype(np.float32)


class OverlapAdd:
    """Joins segments that arrive in the order of a plan, holding no more than one segment.

    Args:
        plan: the plan by which the track was cut.
        stems: how many sounds a segment carries.
        channels: channels of each.

    Example:

    >>> plan = SegmentPlan(samples=10, segment_samples=4)
    >>> join = OverlapAdd(plan, stems=1, channels=2)
    >>> sum(join.add(np.ones((1, 4, 2), "float32")).shape[1] for _ in plan.starts)
    10
    """

    def __init__(self, plan: SegmentPlan, stems: int, channels: int) -> None:
        self._plan = plan
        self._window = plan.window
        self._sum = np.zeros((stems, plan.segment_samples, channels), np.float32)
        self._weight = np.zeros(plan.segment_samples, np.float32)
        self._start, self._count = 0, 0

    def add(self, segment: np.ndarray) -> np.ndarray:
        """Takes the next segment, float32 `(stems, segment_samples, channels)`, and returns what is final."""
        if segment.shape != self._sum.shape:
            raise UserError(f"`segment` must have shape {self._sum.shape}. Received: shape={segment.shape}.")
        plan = self._plan
        self._sum += self._window[:, None] * segment
        self._weight += self._window
        self._count += 1
        is_last = self._count == len(plan.starts)
        ready = plan.samples - self._start if is_last else plan.hop_samples
        out = self._sum[:, :ready] / self._weight[:ready, None]
        self._sum = _shifted(self._sum, ready, axis=1)
        self._weight = _shifted(self._weight, ready, axis=0)
        self._start += ready
        return out


def _shifted(array: np.ndarray, by: int, axis: int) -> np.ndarray:
    out = np.zeros_like(array)
    kept = array.shape[axis] - by
    if axis == 0:
        out[:kept] = array[by:]
    else:
        out[:, :kept] = array[:, by:]
    return out

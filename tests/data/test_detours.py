import numpy as np
import pytest

from kseparation.data import Detours, SegmentBatches, TrackFolder
from kseparation.data.segment_stream import MOST_DRAWS, SegmentStream, UnreadableBatch
from kseparation.errors import MachineError
from tests.songs import SAMPLE_RATE, STEMS, write_songs


class Batches:
    """Gives (position, draw) for a batch, or raises."""

    def __init__(self, bad=(), error=None):
        self.bad, self.error = bad, error or ValueError("bad")

    def batch(self, epoch, index, draw=0):
        if (10 * epoch + index, draw) in self.bad:
            raise self.error
        return 10 * epoch + index, draw


def test_windows_add_up_and_survive_as_json() -> None:
    detours = Detours([[3, 5]])
    detours.add(5, 8)
    assert [detours.draw(position) for position in range(2, 10)] == [0, 1, 1, 2, 1, 1, 1, 0]
    assert Detours(detours.windows()).windows() == [[3, 5], [5, 8]]


def test_a_batch_is_drawn_once_more_for_each_window_that_covers_it() -> None:
    draw = np.random.default_rng(0)
    windows = [(first, first + length) for first, length in draw.integers(0, (90, 12), (60, 2)).tolist()]
    for made in (Detours(windows), Detours(windows[:20])):
        for window in windows[len(made.windows()) :]:
            made.add(*window)
        assert [made.draw(position) for position in range(110)] == [sum(first <= position <= last for first, last in windows) for position in range(110)]


def test_windows_that_end_before_a_position_are_dropped_and_nothing_else_changes() -> None:
    detours = Detours([[0, 9], [3, 5], [8, 20], [12, 12]])
    before = [detours.draw(position) for position in range(9, 30)]
    detours.forget_before(9)
    assert detours.windows() == [[0, 9], [8, 20], [12, 12]]
    assert [detours.draw(position) for position in range(9, 30)] == before
    detours.forget_before(100)
    assert detours.windows() == [] and detours.draw(12) == 0
    detours.add(-3, 101)
    assert detours.windows() == [[0, 101]] and detours.draw(101) == 1


def test_a_window_has_its_ends_in_order() -> None:
    with pytest.raises(ValueError, match="`last` must not lie before `first`. Received: first=5, last=4"):
        Detours().add(5, 4)


def test_other_examples_are_drawn_each_time_and_the_same_ones_again(tmp_path) -> None:
    songs = TrackFolder(str(write_songs(tmp_path, {"train": {"a": 3000, "b": 2500}})), STEMS, SAMPLE_RATE, validation_split=0.0).tracks("train")
    batches = SegmentBatches(songs, STEMS, 400, 2, seed=3)
    first, second, third = (batches.plan(0, 7, draw) for draw in (0, 1, 2))
    assert first != second != third != first
    assert batches.plan(0, 7) == first and batches.plan(0, 7, 1) == second
    np.testing.assert_array_equal(batches.batch(0, 7, 2)[0], batches.batch(0, 7, 2)[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_cannot_be_read_is_drawn_anew_and_told_in_its_turn(workers: int) -> None:
    detours = Detours()
    with SegmentStream(Batches({(12, 0), (12, 1)}), 10, 1, workers, detours=detours, keep=2) as stream:
        assert [next(stream) for _ in range(2)] == [(10, 0), (11, 0)]
        assert not stream.failures
        assert [next(stream) for _ in range(2)] == [(12, 2), (13, 0)]
    assert [(failure.position, failure.draw, str(failure.error)) for failure in stream.failures] == [(12, 0, "bad"), (12, 1, "bad")]
    assert "in batch\n    raise self.error" in stream.failures[0].trace
    assert detours.windows() == []  # whoever trains on it adds it
    assert stream.handed_out[-1] == (13, (13, 0)) and len(stream.handed_out) == 2


def test_what_no_draw_can_read_ends_the_training() -> None:
    bad = {(2, draw) for draw in range(MOST_DRAWS)}
    with SegmentStream(Batches(bad), 10, workers=0, detours=Detours()) as stream, pytest.raises(UnreadableBatch, match="bad") as caught:
        [next(stream) for _ in range(3)]
    assert [failure.draw for failure in caught.value.failures] == [0, 1, 2]


def test_a_fault_of_the_machine_is_not_drawn_around() -> None:
    with SegmentStream(Batches({(0, 0)}, MachineError("disk")), 10, workers=0, detours=Detours()) as stream, pytest.raises(MachineError):
        next(stream)

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kseparation.data import SegmentBatches, SegmentStream, TrackFolder
from kseparation.errors import UserError
from tests.songs import SAMPLE_RATE, STEMS, write_songs

SEGMENT = 500


@pytest.fixture(scope="module")
def batches(tmp_path_factory) -> SegmentBatches:
    root = write_songs(tmp_path_factory.mktemp("songs"), {"train": {"a": 1600, "b": 2100}, "validation": {"v": 900}})
    return SegmentBatches(TrackFolder(str(root), STEMS, SAMPLE_RATE, 2).tracks("train"), STEMS, SEGMENT, 3, seed=5)


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_it_is_the_same_for_any_number_of_workers(batches, workers: int) -> None:
    places = [(epoch, index) for epoch in range(2) for index in range(5)]
    with SegmentStream(batches, steps_per_epoch=5, workers=workers) as stream:
        assert all(same(next(stream), batches.batch(*place)) for place in places)


@pytest.mark.parametrize("workers", [0, 2])
def test_it_begins_anywhere(batches, workers: int) -> None:
    with SegmentStream(batches, steps_per_epoch=3, first_epoch=4, workers=workers, first_index=2) as stream:
        assert all(same(next(stream), batches.batch(*place)) for place in [(4, 2), (5, 0), (5, 1), (5, 2), (6, 0)])


@pytest.mark.parametrize("workers", [0, 2])
def test_it_ends_where_another_thread_closes_it(batches, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """A backend waits for the next batch in a thread of its own while the training ends."""
    read = SegmentBatches.batch
    monkeypatch.setattr(SegmentBatches, "batch", lambda *place: time.sleep(0.05) or read(*place))
    stream = SegmentStream(batches, steps_per_epoch=5, workers=workers)
    received, errors = [], []

    def consume():
        try:
            received.extend(stream)
        except BaseException as error:
            errors.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.12)
    stream.close()
    consumer.join(5)
    assert not consumer.is_alive() and not errors and len(received) >= 1
    with pytest.raises(StopIteration):
        next(stream)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, workers: int) -> None:
    root = write_songs(tmp_path / "songs", {"train": {"a": 1600}})
    tracks = TrackFolder(str(root), STEMS, SAMPLE_RATE, 2, validation_split=0.0).tracks("train")
    (root / "train" / "a" / "drums.wav").write_bytes(b"RIFF")
    with SegmentStream(SegmentBatches(tracks, STEMS, SEGMENT, 2), steps_per_epoch=3, workers=workers) as stream:
        with pytest.raises(UserError, match="drums.wav"):
            next(stream)

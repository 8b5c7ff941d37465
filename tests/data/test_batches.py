import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kseparation.data import AUGMENTATIONS, SegmentBatches, TrackFolder, stream, validation_batches
from kseparation.errors import UserError
from tests.songs import SAMPLE_RATE, STEMS, write_songs

SEGMENT = 500
PLAIN = ("remix", "gain", "polarity", "channel_swap", "silent_stem")


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    root = write_songs(tmp_path_factory.mktemp("songs"), {"train": {"a": 1600, "b": 2100, "short": 300}, "validation": {"v": 1700, "w": 900}})
    return TrackFolder(str(root), STEMS, SAMPLE_RATE, 2)


def batches_of(songs, seed=5, names=PLAIN, segment=SEGMENT, probability=None):
    return SegmentBatches(songs.tracks("train"), STEMS, segment, 3, seed, [AUGMENTATIONS[name]() for name in names])


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_batch_depends_on_seed_epoch_and_index_alone(songs) -> None:
    places = [(epoch, index) for epoch in range(3) for index in range(4)]
    ascending = {place: batches_of(songs).batch(*place) for place in places}
    others = batches_of(songs)
    assert all(same(others.batch(*place), ascending[place]) for place in reversed(places))
    assert not any(same(ascending[one], ascending[other]) for one, other in itertools.combinations(places, 2))
    assert not same(batches_of(songs, seed=6).batch(0, 0), ascending[0, 0])


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_stream_is_the_same_for_any_number_of_workers(songs, workers: int) -> None:
    batches = batches_of(songs)
    places = [(epoch, index) for epoch in range(2) for index in range(5)]
    stream_ = stream(batches, steps_per_epoch=5, workers=workers)
    assert all(same(next(stream_), batches.batch(*place)) for place in places)
    stream_.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_begins_anywhere(songs, workers: int) -> None:
    batches = batches_of(songs)
    stream_ = stream(batches, steps_per_epoch=3, first_epoch=4, workers=workers, first_index=2)
    assert all(same(next(stream_), batches.batch(*place)) for place in [(4, 2), (5, 0), (5, 1), (5, 2), (6, 0)])
    stream_.close()


def test_the_plan_tells_all_that_is_done(songs) -> None:
    batches = batches_of(songs)
    names = [track.name for track in songs.tracks("train")]
    for index in range(20):
        mixtures, stems = batches.batch(1, index)
        for example, choices in enumerate(batches.plan(1, index)):
            assert [choice.stem for choice in choices] == [*STEMS]
            for position, choice in enumerate(choices):
                audio = soundfile.read(songs.root / "train" / names[choice.track] / f"{choice.stem}.wav", dtype="float32")[0]
                audio = audio[choice.start : choice.start + SEGMENT]
                audio = np.concatenate([audio, np.zeros((SEGMENT - len(audio), 2), "float32")])
                audio = audio[:, ::-1] if choice.swap_channels else audio
                np.testing.assert_array_equal(stems[example, position], audio * np.float32(choice.gain))
        assert mixtures.dtype == stems.dtype == np.float32
        np.testing.assert_array_equal(mixtures, stems[:, 0] + stems[:, 1])


def test_every_song_is_drawn(songs) -> None:
    batches = batches_of(songs, names=())
    choices = [choice for index in range(30) for choices in batches.plan(0, index) for choice in choices]
    assert {choice.track for choice in choices} == {0, 1, 2}
    assert {choice.start for choice in choices if songs.tracks("train")[choice.track].name == "short"} == {0}


def test_a_song_shorter_than_a_segment_is_followed_by_silence(songs) -> None:
    batches = SegmentBatches(songs.tracks("train")[2:], STEMS, SEGMENT, 2, 0)
    mixtures, stems = batches.batch(0, 0)
    assert mixtures.shape == (2, SEGMENT, 2) and stems.shape == (2, 2, SEGMENT, 2)
    assert np.all(stems[:, :, 300:] == 0) and np.all(np.abs(stems[:, :, :300]).sum(axis=(2, 3)) > 0)


@pytest.mark.parametrize("segment", [499, 1777])
def test_changed_speed_keeps_the_length(songs, segment: int) -> None:
    batches = batches_of(songs, names=("remix", "speed", "tilt"), segment=segment)
    for index in range(25):
        mixtures, stems = batches.batch(0, index)
        assert stems.shape == (3, 2, segment, 2)
        assert np.isfinite(stems).all()
        np.testing.assert_array_equal(mixtures, stems.sum(axis=1))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = write_songs(tmp_path / "songs", {"train": {"a": 1600}})
    tracks = TrackFolder(str(root), STEMS, SAMPLE_RATE, 2, validation_split=0.0).tracks("train")
    file = root / "train" / "a" / "drums.wav"
    file.write_bytes(b"RIFF")
    stream_ = stream(SegmentBatches(tracks, STEMS, SEGMENT, 2), steps_per_epoch=3, workers=2)
    with pytest.raises(UserError, match="drums.wav"):
        next(stream_)


def test_validation_is_the_same_each_time_and_hears_every_song_first(songs) -> None:
    tracks = songs.tracks("validation")
    batches = validation_batches(tracks, STEMS, SEGMENT, batch_size=2)
    assert all(same(*pair) for pair in zip(batches, validation_batches(tracks, STEMS, SEGMENT, batch_size=2), strict=True))
    # Songs of 1700 and 900 samples hold 3 segments and 1.
    places = [(0, 0), (1, 0), (0, 500), (0, 1000)]
    assert len(batches) == 2
    for number, (mixtures, stems) in enumerate(batches):
        for example, (song, start) in enumerate(places[2 * number : 2 * number + 2]):
            for position, stem in enumerate(STEMS):
                np.testing.assert_array_equal(stems[example, position], tracks[song].read(stem, start, SEGMENT))
        np.testing.assert_array_equal(mixtures, stems[:, 0] + stems[:, 1])


def test_validation_segments_overlap(songs) -> None:
    tracks = songs.tracks("validation")[:1]
    (mixtures, _), *_ = validation_batches(tracks, STEMS, SEGMENT, batch_size=5, overlap=0.5)
    assert mixtures.shape == (5, SEGMENT, 2)  # starts 0, 250, 500, 750, 1000 of 1700 samples
    for first, second in itertools.pairwise(mixtures):
        np.testing.assert_array_equal(first[250:], second[:250])


def test_validation_of_less_than_a_batch_and_of_too_much(songs) -> None:
    tracks = songs.tracks("validation")
    assert [mixtures.shape for mixtures, _ in validation_batches(tracks, STEMS, 800, 16)] == [(3, 800, 2)]
    assert [mixtures.shape for mixtures, _ in validation_batches(tracks, STEMS, 5000, 16)] == [(2, 5000, 2)]
    assert len(validation_batches(tracks, STEMS, 100, 2, most_batches=4)) == 4

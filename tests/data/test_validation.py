from pathlib import Path

import numpy as np
import pytest

from kseparation.data import TrackFolder, ValidationSegments
from tests.songs import SAMPLE_RATE, STEMS, write_songs

SEGMENT = 500


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    root = write_songs(tmp_path_factory.mktemp("songs"), {"train": {"a": 20}, "validation": {"v": 1700, "w": 900}})
    return TrackFolder(str(root), STEMS, SAMPLE_RATE, 2).tracks("validation")


def test_the_segments_lie_evenly_in_every_song(tracks) -> None:
    segments = ValidationSegments(tracks, STEMS, SEGMENT, batch_size=2)
    # Songs of 1700 and 900 samples hold 3 segments and 1: each in the middle of its share of the song.
    places = [(0, 33), (1, 200), (0, 600), (0, 1166)]
    assert segments.places == places and len(segments) == 2
    for number in range(2):
        mixtures, stems = segments[number]
        for example, (song, start) in enumerate(places[2 * number : 2 * number + 2]):
            for position, stem in enumerate(STEMS):
                np.testing.assert_array_equal(stems[example, position], tracks[song].read(stem, start, SEGMENT))
        np.testing.assert_array_equal(mixtures, stems[:, 0] + stems[:, 1])
    assert segments.plan(1) == [{"song": "v", "start": 600}, {"song": "v", "start": 1166}]


def test_they_do_not_depend_on_the_batch_size() -> None:
    class Song:
        samples = 10_000_000

    songs = [Song() for _ in range(14)]
    places = [ValidationSegments(songs, STEMS, 1000, size).places for size in (1, 4, 8)]
    assert places[0] == places[1] == places[2] and len(places[0]) == 64
    assert {song for song, _ in places[0]} == set(range(14))
    starts = np.array([start for _, start in places[0]])
    assert starts.min() < 0.15 * Song.samples and starts.max() > 0.85 * Song.samples


@pytest.mark.parametrize("samples", [1000, 1001, 1499, 1500, 12345, 250])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
def test_none_repeats_more_than_the_overlap(samples: int, overlap: float) -> None:
    class Song:
        pass

    song = Song()
    song.samples = samples
    starts = np.array([start for _, start in ValidationSegments([song], STEMS, SEGMENT, 1, overlap).places])
    assert np.all(np.diff(starts) >= round(SEGMENT * (1 - overlap))) and starts[0] >= 0
    assert starts[-1] <= max(samples - SEGMENT, 0)
    assert len(starts) == min(64, 1 + max(samples - SEGMENT, 0) // round(SEGMENT * (1 - overlap)))


def test_they_may_overlap(tracks) -> None:
    places = ValidationSegments(tracks[:1], STEMS, SEGMENT, batch_size=5, overlap=0.5).places
    assert places == [(0, 0), (0, 300), (0, 600), (0, 900), (0, 1200)]


@pytest.mark.parametrize(("segment", "most", "shape"), [(800, 64, (3, 800, 2)), (5000, 64, (2, 5000, 2)), (100, 2, (2, 100, 2))])
def test_less_than_a_batch_is_a_batch(tracks, segment: int, most: int, shape) -> None:
    segments = ValidationSegments(tracks, STEMS, segment, 16, most_segments=most)
    assert [mixtures.shape for mixtures, _ in segments] == [shape]


def test_a_song_of_more_than_the_stems_is_heard_as_it_is(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {"a": 20}, "validation": {"v": 1700}})
    (track,) = TrackFolder(str(root), ("vocals",), SAMPLE_RATE, 2).tracks("validation")
    mixtures, stems = ValidationSegments([track], ("vocals",), SEGMENT, 1)[0]
    np.testing.assert_array_equal(mixtures[0], track.read_mixture(33, SEGMENT))
    assert np.abs(mixtures[0] - stems[0, 0]).max() > 0.1

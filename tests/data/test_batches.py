import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kseparation.audio.writing import write_audio
from kseparation.data import AUGMENTATIONS, SegmentBatches, TrackFolder
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


@pytest.fixture(scope="module")
def sung(tmp_path_factory):
    """One song of a sine of 500 Hz in the first stem and silence in the second, 2 s long."""
    root = tmp_path_factory.mktemp("sung")
    sine = 0.3 * np.sin(2 * np.pi * 500 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype("float32")
    for stem, audio in zip(STEMS, (sine, 0 * sine), strict=True):
        write_audio(root / "train" / "a" / f"{stem}.wav", np.stack([audio, audio], axis=1), SAMPLE_RATE, bits="24")
    return TrackFolder(str(root), STEMS, SAMPLE_RATE, 2, validation_split=0.0)


def test_a_faster_stem_does_not_run_out(sung) -> None:
    length = 2 * SAMPLE_RATE - 800  # nearly the whole song, which at this speed is shorter than that
    batches = SegmentBatches(sung.tracks("train"), STEMS, length - 2400, 4, 0, [AUGMENTATIONS["speed"](1.19, 1.19)])
    for index in range(4):
        assert np.abs(batches.batch(0, index)[1][:, 0, -100:]).max(axis=(1, 2)).min() > 0.2


def first_stem(songs, **change):
    """One second of the first stem after a change of its plan."""

    def changed(choices, *_):
        return [replace(choice, **change) for choice in choices]

    return SegmentBatches(songs.tracks("train"), STEMS, SAMPLE_RATE, 1, 0, [changed]).batch(0, 0)[1][0, 0, :, 0]


@pytest.mark.parametrize("speed", [0.84, 1.0, 1.19])
def test_a_faster_stem_is_higher(sung, speed: float) -> None:
    power = np.abs(np.fft.rfft(first_stem(sung, speed=speed) * np.hanning(SAMPLE_RATE)))
    assert np.argmax(power) == pytest.approx(500 * speed, abs=1)  # bins of 1 Hz


@pytest.mark.parametrize("tilt_db", [-2.0, 3.0])
def test_a_tilt_turns_about_1_khz(sung, tilt_db: float) -> None:
    plain, tilted = (np.std(first_stem(sung, tilt_db=value)[1000:-1000]) for value in (0.0, tilt_db))
    assert 20 * np.log10(tilted / plain) == pytest.approx(-tilt_db, abs=0.1)  # 500 Hz is an octave below


@pytest.fixture(params=["mixture", "other files"])
def with_more(request, tmp_path: Path):
    """Songs of two stems and more: `mixture.wav` tells how much, or else the file of a third stem."""
    root = write_songs(tmp_path, {"train": {"a": 1600, "b": 2100}, "validation": {"v": 1700}}, stems=(*STEMS, "bass"))
    if request.param == "mixture":
        for folder in root.glob("*/*"):
            stems = [soundfile.read(folder / f"{stem}.wav", dtype="float32")[0] for stem in (*STEMS, "bass")]
            write_audio(folder / "mixture.wav", sum(stems), SAMPLE_RATE, bits="32f")
            (folder / "bass.wav").rename(root / f"{folder.name}.wav")
    return root


def bass_of(root: Path, song: str) -> np.ndarray:
    (file,) = [*root.glob(f"*/{song}/bass.wav"), *root.glob(f"{song}.wav")]
    return soundfile.read(file, dtype="float32")[0]


@pytest.mark.parametrize("stems", [("vocals",), STEMS])
def test_what_is_no_stem_stays_in_the_mixture(with_more: Path, stems) -> None:
    songs = TrackFolder(str(with_more), stems, SAMPLE_RATE, 2)
    remix = AUGMENTATIONS["remix"](1.0)
    batches = SegmentBatches(songs.tracks("train"), stems, SEGMENT, 3, 5, [remix])
    others = ("drums", "bass")[len(stems) - 1 :]
    for index in range(5):
        mixtures, targets = batches.batch(0, index)
        assert targets.shape[1] == len(stems)
        for example, choices in enumerate(batches.plan(0, index)):
            song, start = ("a", "b")[choices[-1].track], choices[-1].start
            rest = sum(
                bass_of(with_more, song) if stem == "bass" else soundfile.read(with_more / "train" / song / f"{stem}.wav", dtype="float32")[0]
                for stem in others
            )[start : start + SEGMENT]
            np.testing.assert_allclose(mixtures[example], targets[example].sum(axis=0) + rest, rtol=0, atol=1e-6)


def test_the_rest_is_changed_like_a_stem(with_more: Path) -> None:
    tracks = TrackFolder(str(with_more), STEMS, SAMPLE_RATE, 2).tracks("train")
    plain, louder = (SegmentBatches(tracks, STEMS, SEGMENT, 3, 5, changes).batch(0, 0) for changes in ([], [AUGMENTATIONS["gain"](2.0, 2.0)]))
    assert np.abs(plain[0] - plain[1].sum(axis=1)).max() > 0.1
    np.testing.assert_allclose(louder[0], 2 * plain[0], rtol=0, atol=1e-5)


def test_stems_that_are_all_there_are_the_mixture(tmp_path: Path) -> None:
    root = write_songs(tmp_path, {"train": {"a": 1600}})
    stems = [soundfile.read(root / "train" / "a" / f"{stem}.wav", dtype="float32")[0] for stem in STEMS]
    write_audio(root / "train" / "a" / "mixture.wav", sum(stems), SAMPLE_RATE)
    write_audio(root / "train" / "a" / "accompaniment.wav", stems[1], SAMPLE_RATE)
    tracks = TrackFolder(str(root), STEMS, SAMPLE_RATE, 2, validation_split=0.0).tracks("train")
    assert SegmentBatches(tracks, STEMS, SEGMENT, 2).sources == STEMS
    (root / "train" / "a" / "mixture.wav").unlink()
    tracks = TrackFolder(str(root), STEMS, SAMPLE_RATE, 2, validation_split=0.0).tracks("train")
    assert SegmentBatches(tracks, STEMS, SEGMENT, 2).sources == STEMS

import pickle

import numpy as np
import pytest

from kseparation.audio.resampling import resample
from kseparation.audio.track import Track
from kseparation.audio.writing import write_audio
from kseparation.errors import UserError


def noise(samples, channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    paths = {}
    for seed, name in enumerate(["vocals", "drums", "mixture"]):
        paths[name] = tmp_path / f"{name}.wav"
        write_audio(paths[name], noise(3000, seed=seed), 44100, bits="32f")
    return paths


def test_stems_and_mixture_are_read_in_parts(files):
    track = Track("song", {"vocals": files["vocals"], "drums": files["drums"]}, files["mixture"])
    assert (track.sample_rate, track.channels, track.samples) == (44100, 2, 3000)
    np.testing.assert_array_equal(track.read("drums", 100, 50), noise(3000, seed=1)[100:150])
    np.testing.assert_array_equal(track.read_mixture(), noise(3000, seed=2))
    assert track.read_mixture(2990, 50).shape == (10, 2)
    assert "song" in repr(track)


def test_without_a_mixture_it_is_the_sum(files):
    track = Track("song", {"vocals": files["vocals"], "drums": files["drums"]})
    np.testing.assert_array_equal(track.read_mixture(5, 20), (noise(3000) + noise(3000, seed=1))[5:25])


def test_a_mixture_alone_is_a_track(files):
    assert Track("song", {}, files["mixture"]).read_mixture(0, 7).shape == (7, 2)


def test_conversion_on_reading(files, tmp_path):
    write_audio(tmp_path / "mono.wav", noise(3000, 1), 48000, bits="32f")
    track = Track("song", {"vocals": tmp_path / "mono.wav", "drums": files["drums"]}, sample_rate=44100, channels=2)
    expected = resample(noise(3000, 1), 48000, 44100)
    np.testing.assert_allclose(track.read("vocals", 500, 100), expected[500:600, [0, 0]], atol=2e-6)
    assert track.samples == 3000 and len(expected) < 3000
    whole = track.read("vocals")
    assert whole.shape == (3000, 2) and not whole[len(expected) :].any()


def test_it_opens_no_file_when_all_is_told_and_travels_to_workers():
    track = Track("song", {"vocals": "/missing.wav"}, None, sample_rate=44100, channels=2, samples=100)
    assert pickle.loads(pickle.dumps(track)).samples == 100
    with pytest.raises(UserError, match="`/missing.wav` does not exist"):
        track.read("vocals")


def test_bad_requests(files):
    with pytest.raises(UserError, match="Track `song` has no stem `vocal`. Did you mean `vocals`"):
        Track("song", {"vocals": files["vocals"]}).read("vocal")
    with pytest.raises(UserError, match="must have a mixture or at least one stem"):
        Track("song", {})


@pytest.mark.parametrize(("level", "found"), [(0.02, 9800), (0.005, None)])
def test_a_rest_is_found_late_in_a_song_and_down_to_40_db(tmp_path, level, found):
    vocals, rest = noise(24000), level * noise(24000, seed=1)  # 30 s
    rest[: 12 * 800] = rest[13 * 800 :] = 0
    write_audio(tmp_path / "v.wav", vocals, 800, bits="32f")
    write_audio(tmp_path / "m.wav", vocals + rest, 800, bits="32f")
    assert Track("song", {"vocals": tmp_path / "v.wav"}, tmp_path / "m.wav").rest_start == found

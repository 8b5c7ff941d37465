import numpy as np
import pytest

from kseparation.audio.reading import AudioReader
from kseparation.audio.resampled_reader import ResampledReader, convert_channels
from kseparation.audio.resampling import resample
from kseparation.audio.writing import write_audio
from kseparation.errors import UserError


def noise(samples, channels=2):
    return np.random.default_rng(0).uniform(-1, 1, (samples, channels)).astype(np.float32)


@pytest.mark.parametrize(
    "from_rate, to_rate, tolerance",
    [(48000, 44100, 2e-6), (44100, 16000, 2e-6), (8000, 44100, 2e-6), (96000, 8000, 2e-6), (44099, 44100, 2e-5)],
)
def test_any_piece_equals_that_piece_of_the_whole_resampled_at_once(tmp_path, from_rate, to_rate, tolerance):
    audio = noise(from_rate * 2)
    write_audio(tmp_path / "a.wav", audio, from_rate, bits="32f")
    whole = resample(audio, from_rate, to_rate)
    with ResampledReader(tmp_path / "a.wav", to_rate) as reader:
        assert (reader.samples, reader.channels, reader.sample_rate) == (len(whole), 2, to_rate)
        for start in [0, 1, 999, to_rate // 2 + 17, 2 * to_rate - 500]:
            piece = reader.read(start, 1000)
            np.testing.assert_allclose(piece, whole[start : start + 1000], atol=tolerance)
        assert reader.read(2 * to_rate, 10).shape == (0, 2)


def test_memory_and_reading_stay_with_the_piece(tmp_path, monkeypatch):
    write_audio(tmp_path / "a.wav", noise(480_000), 48000)
    asked = []
    read = AudioReader.read
    monkeypatch.setattr(AudioReader, "read", lambda self, start, n: (asked.append(n), read(self, start, n))[1])
    with ResampledReader(tmp_path / "a.wav", 44100) as reader:
        reader.read(200_000, 1000)
    assert sum(asked) < 10_000


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_very_short_file_has_the_promised_length(tmp_path, samples):
    write_audio(tmp_path / "a.wav", noise(samples), 96000)
    with ResampledReader(tmp_path / "a.wav", 8000) as reader:
        assert reader.samples == 1
        assert reader.read(0, 5).shape == (1, 2)


def test_the_files_own_rate_and_channels_are_the_default(tmp_path):
    write_audio(tmp_path / "a.wav", noise(50, 3), 8000, bits="32f")
    with ResampledReader(tmp_path / "a.wav") as reader:
        np.testing.assert_array_equal(reader.read(10, 100), noise(50, 3)[10:])


def test_mono_is_duplicated_and_anything_averaged_to_mono():
    audio = noise(10, 3)
    np.testing.assert_allclose(convert_channels(audio, 1)[:, 0], audio.mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(convert_channels(audio[:, :1], 2), audio[:, [0, 0]])
    assert convert_channels(audio, 3) is audio


def test_other_conversions_name_the_file(tmp_path):
    write_audio(tmp_path / "a.wav", noise(10, 3), 8000)
    with pytest.raises(UserError, match="a.wav`: `channels` cannot be converted. Received: 3, wanted 2"):
        ResampledReader(tmp_path / "a.wav", channels=2)

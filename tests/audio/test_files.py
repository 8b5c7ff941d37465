import numpy as np

from kseparation.audio import files


def test_what_is_written_is_read_back(tmp_path):
    audio = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
    files.write_audio(tmp_path / "a.wav", audio, 22050, bits="32f")
    with files.AudioReader(tmp_path / "a.wav") as reader:
        np.testing.assert_array_equal(reader.read(0, 500), audio)
    assert files.audio_info(tmp_path / "a.wav").sample_rate == 22050
    assert all(hasattr(files, name) for name in files.__all__)

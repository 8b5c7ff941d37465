import errno
import os

import numpy as np
import pytest
import soundfile

from kseparation.audio import writing
from kseparation.audio.reading import audio_info, read_audio
from kseparation.audio.writing import AudioWriter, check_output_format, quantize, write_audio
from kseparation.errors import MachineError, UserError


def noise(samples, channels=2):
    return np.random.default_rng(0).uniform(-0.9, 0.9, (samples, channels)).astype(np.float32)


@pytest.mark.parametrize(
    "format, bits, subtype, step",
    [
        ("wav", "16", "PCM_16", 2**-15),
        ("wav", "24", "PCM_24", 2**-23),
        ("flac", "16", "PCM_16", 2**-15),
        ("flac", "24", "PCM_24", 2**-23),
    ],
)
def test_integer_formats_round_to_the_nearest_step(tmp_path, format, bits, subtype, step):
    audio = noise(100_000)
    write_audio(tmp_path / "a", audio, 44100, format, bits)
    out, _ = read_audio(tmp_path / "a")
    assert audio_info(tmp_path / "a").subtype == subtype
    np.testing.assert_array_equal(out, np.round(audio.astype(np.float64) / step) * step)
    np.testing.assert_array_equal(out, quantize(audio, bits))


def test_float_is_written_bit_for_bit(tmp_path):
    audio = noise(1000) * 3
    write_audio(tmp_path / "a.wav", audio, 44100, bits="32f")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], audio)


@pytest.mark.parametrize("format", ["ogg", "mp3"])
@pytest.mark.parametrize("samples", [1, 44100, 300_000])
def test_lossy_formats_keep_length_and_sound(tmp_path, format, samples):
    audio = (0.5 * np.sin(np.arange(samples) * 2 * np.pi * 440 / 44100))[:, None].astype(np.float32)
    write_audio(tmp_path / "a", audio, 44100, format)
    out, _ = read_audio(tmp_path / "a")
    assert out.shape == audio.shape
    if samples > 1:
        assert np.mean((out - audio) ** 2) < 1e-3 * np.mean(audio**2)


@pytest.mark.parametrize("bits", ["16", "24"])
def test_beyond_full_scale_saturates_and_never_wraps(tmp_path, bits):
    write_audio(tmp_path / "a.wav", np.float32([[1.0], [1.5], [100.0], [-1.0], [-1.5]]), 8000, bits=bits)
    top = 1 - 2.0 ** (1 - int(bits))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0][:, 0], np.float32([top, top, top, -1, -1]))


def test_rounding_has_no_bias_towards_below(tmp_path):
    write_audio(tmp_path / "a.wav", np.float32([[0.6], [-0.6], [0.4], [-0.4]]) / 32768, 8000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0][:, 0] * 32768, [1, -1, 0, 0])


def test_blocks_make_the_same_file_as_the_whole(tmp_path):
    audio = noise(10_000)
    write_audio(tmp_path / "a.flac", audio, 44100, "flac", "24")
    with AudioWriter(tmp_path / "b.flac", 44100, 2, "flac", "24") as writer:
        for start in range(0, 10_000, 777):
            writer.write(audio[start : start + 777])
    assert writer.samples == 10_000
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


def test_the_name_appears_on_clean_exit_only_and_missing_folders_are_made(tmp_path):
    path = tmp_path / "x" / "y" / "a.wav"
    with AudioWriter(path, 8000, 1) as writer:
        writer.write(np.zeros((5, 1), np.float32))
        assert not path.exists()
    assert os.listdir(path.parent) == ["a.wav"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.wav").write_text("old")
    with pytest.raises(KeyError):
        with AudioWriter(tmp_path / "a.wav", 8000, 1) as writer:
            writer.write(np.zeros((5, 1), np.float32))
            raise KeyError
    assert os.listdir(tmp_path) == ["a.wav"] and (tmp_path / "a.wav").read_text() == "old"


def test_a_file_as_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a.wav` cannot be written: .*Choose another place"):
        write_audio(tmp_path / "file" / "a.wav", noise(3), 8000)


def test_a_folder_as_file(tmp_path):
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        write_audio(tmp_path, noise(3), 8000)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_is_the_machines_fault(tmp_path, monkeypatch, number):
    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(MachineError, match="Free space there"):
        write_audio(tmp_path / "a.wav", noise(3), 8000)
    assert os.listdir(tmp_path) == []


def test_libsndfile_failing_to_write_is_the_machines_fault(tmp_path, monkeypatch):
    def fail(*_):
        raise soundfile.LibsndfileError(2, "")

    monkeypatch.setattr(soundfile.SoundFile, "write", fail)
    with pytest.raises(MachineError, match="cannot be written.*Is the disk full"):
        write_audio(tmp_path / "a.wav", noise(3), 8000)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("wave", "16"), "`format` is unknown. Received: format='wave'. Did you mean `wav`"),
        (("flac", "32f"), "`bits` does not fit `format`. Received: bits='32f', format='flac'"),
        (("mp3", "24"), "`bits` does not fit"),
        (("mp3", "16", 96000), "mp3 cannot hold this sound: .*Received: sample_rate=96000, channels=2"),
        (("mp3", "16", 44100, 3), "Received: sample_rate=44100, channels=3"),
        (("flac", "16", 44100, 9), "Received: sample_rate=44100, channels=9"),
        (("wav", "32f", 44100, 2, 2**29), "4 GiB. Received: samples=536870912, channels=2, bits='32f'. Choose flac"),
    ],
)
def test_formats_that_cannot_be_written_are_refused_beforehand(arguments, words):
    with pytest.raises(UserError, match=words):
        check_output_format(*arguments)


def test_a_wav_that_would_pass_4_gib_is_refused_while_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_MAX_WAV_BYTES", 1000)
    with pytest.raises(UserError, match="4 GiB"):
        write_audio(tmp_path / "a.wav", noise(300), 8000)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(10,), (10, 3)])
def test_blocks_of_another_shape_are_refused(tmp_path, shape):
    with pytest.raises(UserError, match="must have shape"):
        with AudioWriter(tmp_path / "a.wav", 8000, 2) as writer:
            writer.write(np.zeros(shape, np.float32))
    with pytest.raises(UserError, match="must have shape"):
        write_audio(tmp_path / "a.wav", np.zeros(10, np.float32), 8000)

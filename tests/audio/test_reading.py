import os
import shutil
import struct

import numpy as np
import pytest
import soundfile

from kseparation.audio import decoding, reading
from kseparation.audio.decoding import BLOCK_SAMPLES, Decoder
from kseparation.audio.reading import AudioReader, audio_info, read_audio, require_finite
from kseparation.errors import UserError
from tests.audio_files.making import mp3_frames

FORMATS = [
    ("wav", "PCM_16"),
    ("wav", "FLOAT"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("mp3", "MPEG_LAYER_III"),
    ("aiff", "PCM_16"),
]


def noise(samples, channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def music(samples):
    """Chirps with rests: an mp3 encoder saves bits in the rests and spends them later, unlike in noise."""
    seconds = np.arange(samples) / 44100
    tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * seconds) * seconds) * (np.sin(9.4 * seconds) > 0)
    return np.stack([tone, 0.5 * tone], axis=-1).astype(np.float32)


def cut(source, target, keep):
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * keep)])
    return target


@pytest.mark.parametrize("format, subtype", FORMATS)
@pytest.mark.parametrize("samples", [1, 1000, 44100])
def test_every_format_is_read_at_its_length(tmp_path, format, subtype, samples):
    path = tmp_path / f"a.{format}"
    audio = noise(samples)
    soundfile.write(path, audio, 44100, subtype=subtype)
    out, rate = read_audio(path)
    assert out.shape == audio.shape and out.dtype == np.float32 and rate == 44100
    info = audio_info(path)
    assert (info.samples, info.channels, info.sample_rate, info.subtype) == (samples, 2, 44100, subtype)
    if subtype not in ("VORBIS", "MPEG_LAYER_III"):
        np.testing.assert_allclose(out, audio, atol=1 / 32768)


@pytest.mark.parametrize("format, subtype", FORMATS)
def test_a_part_read_by_itself_equals_that_part_of_the_whole(tmp_path, format, subtype):
    path = tmp_path / f"a.{format}"
    soundfile.write(path, music(100_000), 44100, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32")  # one call, one decoder run from the start
    np.testing.assert_array_equal(read_audio(path)[0], whole)
    with AudioReader(path) as reader:
        for start, samples in [(70_000, 5000), (123, 7), (0, 100_000), (99_990, 50)]:
            np.testing.assert_allclose(reader.read(start, samples), whole[start : start + samples], atol=1e-6)
        assert reader.read(100_000, 10).shape == (0, 2)
        np.testing.assert_allclose(np.concatenate(list(reader.blocks(4096))), whole, atol=1e-6)
    np.testing.assert_allclose(read_audio(path, 50, 20)[0], whole[50:70], atol=1e-6)


def test_an_mp3_is_exact_beyond_what_is_kept_and_back_again(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "KEPT_SAMPLES", 3 * decoding.BLOCK_SAMPLES)
    soundfile.write(tmp_path / "a.mp3", music(700_000), 44100)
    whole, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    with AudioReader(tmp_path / "a.mp3") as reader:
        for start in (600_000, 500_000, 10, 300_000):
            np.testing.assert_array_equal(reader.read(start, 90_000), whole[start : start + 90_000])


@pytest.mark.parametrize("rate, channels", [(8000, 1), (192_000, 6), (11_025, 3)])
def test_any_rate_and_channel_count(tmp_path, rate, channels):
    soundfile.write(tmp_path / "a.wav", noise(500, channels), rate, subtype="FLOAT")
    out, read_rate = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(out, noise(500, channels))
    assert read_rate == rate


def test_peaks_above_full_scale_stay(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.float32([[3.5], [-2.0]]), 44100, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], np.float32([[3.5], [-2.0]]))


def missing(folder):
    return folder / "none.wav"


def below_a_file(folder):
    (folder / "file").write_text("x")
    return folder / "file" / "a.wav"


def a_folder(folder):
    return folder


def empty(folder):
    (folder / "e.wav").touch()
    return folder / "e.wav"


def text(folder):
    (folder / "t.wav").write_text("these are words\n" * 50)
    return folder / "t.wav"


def headerless(folder):
    (folder / "t.raw").write_bytes(bytes(1000))
    return folder / "t.raw"


def zero_samples(folder):
    soundfile.write(folder / "z.wav", np.zeros((0, 2)), 44100)
    return folder / "z.wav"


def pipe(folder):
    os.mkfifo(folder / "p.wav")
    return folder / "p.wav"


def device(_):
    return "/dev/zero"


def nul_in_name(_):
    return "a\0b.wav"


def channels_1024(folder):
    soundfile.write(folder / "c.wav", np.zeros((4, 1024)), 44100)
    return folder / "c.wav"


def channels_60000(folder):
    soundfile.write(folder / "c.wav", noise(1000), 44100)
    data = bytearray((folder / "c.wav").read_bytes())
    data[22:24] = struct.pack("<H", 60000)
    (folder / "c.wav").write_bytes(data)
    return folder / "c.wav"


def rate_of_one(folder):
    soundfile.write(folder / "r.wav", noise(10), 1)
    return folder / "r.wav"


@pytest.mark.parametrize(
    "make, words",
    [
        (missing, "does not exist"),
        (below_a_file, "does not exist"),
        (a_folder, "is a folder"),
        (empty, r"is empty \(0 bytes\)"),
        (text, "is not an audio file.*Format not recognised"),
        (headerless, "is not an audio file.*headerless"),
        (zero_samples, "at least one sample.*Received: samples=0"),
        (pipe, "not a regular file"),
        (device, "not a regular file"),
        (nul_in_name, "cannot be read: embedded null"),
        (channels_1024, "1 to 64 channels. Received: channels=1024"),
        (channels_60000, "not an audio file.*[Cc]hannels"),
        (rate_of_one, "Received: sample_rate=1"),
    ],
)
def test_bad_input_is_named(tmp_path, make, words):
    path = make(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        read_audio(path)
    assert f"`{path}`" in str(caught.value)


def test_without_permission(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise(10), 8000)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading, "open", refuse, raising=False)
    with pytest.raises(UserError, match="cannot be read: Permission denied. Check its permissions"):
        audio_info(tmp_path / "a.wav")


@pytest.mark.parametrize("format, subtype", [f for f in FORMATS if f[0] != "ogg"])
@pytest.mark.parametrize("keep", [0.9, 0.5])
def test_a_file_cut_short_is_refused_when_opened(tmp_path, capfd, format, subtype, keep):
    soundfile.write(tmp_path / f"a.{format}", noise(200_000), 44100, subtype=subtype)
    path = cut(tmp_path / f"a.{format}", tmp_path / f"cut.{format}", keep)
    with pytest.raises(UserError, match="cut short: its header promises"):
        audio_info(path)


def test_ogg_names_no_length_so_a_cut_one_is_reported_and_read_as_far_as_it_goes(tmp_path, caplog):
    soundfile.write(tmp_path / "a.ogg", noise(200_000), 44100)
    path = cut(tmp_path / "a.ogg", tmp_path / "cut.ogg", 0.5)
    audio, _ = read_audio(path)
    assert 50_000 < len(audio) == audio_info(path).samples < 150_000
    assert "ends without the mark of its end" in caplog.text


def test_a_flac_that_claims_hours_allocates_nothing(tmp_path):
    soundfile.write(tmp_path / "a.flac", noise(1000), 44100)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F  # high bits of the 36-bit sample count
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(UserError, match="promises 644245[0-9]{5} samples. Received: 1000"):
        read_audio(tmp_path / "a.flac")


def test_a_flac_that_claims_years_is_not_decoded_to_its_end(tmp_path, monkeypatch):
    """Its frames of silence take next to nothing on the disk."""
    monkeypatch.setattr(reading, "MAX_SECONDS", 2)
    soundfile.write(tmp_path / "a.flac", np.zeros(400_000), 44100)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F
    (tmp_path / "a.flac").write_bytes(data)
    decoded, read = [], Decoder.read
    monkeypatch.setattr(Decoder, "read", lambda *arguments: decoded.append(read(*arguments)) or decoded[-1])
    with pytest.raises(UserError, match="lasts longer than 2 seconds"):
        read_audio(tmp_path / "a.flac")
    assert sum(map(len, decoded)) <= 2 * 44100 + BLOCK_SAMPLES


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1000), 44100)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 1000


def test_an_mp3_whose_claim_is_an_estimate_has_its_decodable_length(tmp_path, capfd):
    soundfile.write(tmp_path / "a.mp3", noise(400_000), 44100)
    path = cut(tmp_path / "a.mp3", tmp_path / "b.mp3", 0.995)
    info = audio_info(path)
    assert 396_000 <= info.samples < 400_000
    assert len(read_audio(path)[0]) == info.samples


@pytest.mark.parametrize("quiet", ["first", "last"])
def test_an_mp3_of_variable_rate_that_does_not_say_its_length_is_read_to_its_end(tmp_path, quiet):
    """libsndfile guesses its length from the rate of the first frame, a half or twice of what it is."""
    path, parts = tmp_path / "a.mp3", [0.001 * noise(400_000), 0.5 * noise(400_000)]
    with soundfile.SoundFile(path, "w", 44100, 2, bitrate_mode="VARIABLE") as file:
        file.write(np.concatenate(parts if quiet == "first" else parts[::-1]))
    whole, data = soundfile.read(path, dtype="float32")[0], path.read_bytes()
    starts = list(mp3_frames(data))
    assert b"Xing" in data[: starts[1]]
    path.write_bytes(b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes(256) + data[starts[1] :])
    assert abs(soundfile.info(path).frames - len(whole)) > 0.1 * len(whole)
    found, _ = read_audio(path)
    late = len(found) - len(whole)  # the encoder's delay, which the first frame would have told
    assert 0 <= late < 3 * 1152
    delay = next(lag for lag in range(late + 1) if np.allclose(found[lag + 5000 : lag + 5100], whole[5000:5100], atol=1e-4))
    np.testing.assert_allclose(found[delay + 5000 : delay + 795_000], whole[5000:795_000], atol=1e-4)
    with AudioReader(path) as reader:
        for start in (600_000, 10_000):
            np.testing.assert_allclose(reader.read(start, 1000), found[start : start + 1000], atol=1e-6)


def test_a_file_cut_after_it_was_opened_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(300_000), 44100)
    with AudioReader(tmp_path / "a.wav") as reader:
        os.truncate(tmp_path / "a.wav", 400_000)
        with pytest.raises(UserError, match="cut short"):
            reader.read(0, 300_000)


def test_a_replaced_file_is_probed_again(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(100), 44100)
    assert audio_info(tmp_path / "a.wav").samples == 100
    soundfile.write(tmp_path / "b.wav", noise(200), 44100)
    shutil.move(tmp_path / "b.wav", tmp_path / "a.wav")
    assert audio_info(tmp_path / "a.wav").samples == 200


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_named_by_file_sample_and_channel(tmp_path, value):
    audio = noise(70_000)
    audio[66_000, 1] = value
    soundfile.write(tmp_path / "a.wav", audio, 44100, subtype="FLOAT")
    with pytest.raises(UserError, match=rf"a.wav.*Received: {value} at sample 66000, channel 1"):
        read_audio(tmp_path / "a.wav")


def test_opposite_infinities_do_not_cancel_and_large_values_do_not_overflow():
    with pytest.raises(UserError, match="Received: inf at sample 5, channel 0"):
        require_finite(np.float32([[np.inf], [-np.inf]]), "x", start=5)
    assert require_finite(np.full((100, 1), np.finfo(np.float32).max), "x") is None


def test_negative_positions_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(10), 8000)
    with pytest.raises(UserError, match="must not be negative. Received: start=-1, samples=5"):
        read_audio(tmp_path / "a.wav", -1, 5)

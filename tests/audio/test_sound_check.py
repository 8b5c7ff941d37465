"""What a listener is told about a file that could be read."""

import numpy as np
import pytest
import soundfile

from kseparation.audio.files import audio_info
from kseparation.audio.sound_check import SoundCheck, scale_to_music
from tests.separating import noise


def warnings(folder, audio, subtype="FLOAT", format="wav", block=700):
    path = folder / f"a.{format}"
    soundfile.write(path, audio, 8000, subtype=subtype)
    check = SoundCheck(audio_info(path))
    sound = soundfile.read(path, dtype="float32", always_2d=True)[0]
    for start in range(0, len(sound), block):
        check.update(sound[start : start + block])
    assert check.peak == np.abs(sound).max()
    return check.warnings()


@pytest.mark.parametrize(("peak", "scale"), [(0.0, 1.0), (0.5, 1.0), (7.9, 1.0), (8.1, 1 / 8.1), (1e-3, 1.0), (5e-5, 2e4)])
def test_only_what_music_never_is_gets_scaled(peak, scale):
    assert scale_to_music(peak) == pytest.approx(scale)


def test_music_gets_no_warning(tmp_path):
    assert warnings(tmp_path, noise(4000)) == []
    assert warnings(tmp_path, noise(1)) == []  # a single sample is all off zero


def test_loud_quiet_and_silent_sounds_are_told_apart(tmp_path):
    scaled = "; it was separated at full scale and scaled back"
    assert warnings(tmp_path, np.full((4000, 1), 3.0) * np.sign(noise(4000, 1))) == ["the input exceeds full scale: peak 3"]
    assert warnings(tmp_path, 100 * np.sign(noise(4000, 1))) == [f"the input exceeds full scale: peak 100{scaled}"]
    assert warnings(tmp_path, 1e-5 * np.sign(noise(4000, 1))) == [f"the input is nearly silent: peak 1e-05{scaled}"]
    assert warnings(tmp_path, np.zeros((4000, 2))) == ["the input is silent"]


def test_a_channel_off_zero_is_named(tmp_path):
    assert warnings(tmp_path, 0.1 * noise(4000) + [0, -0.2]) == ["channel 1 of the input is off zero by -0.2002"]


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_the_sum_of_a_flac_is_that_of_its_writer(tmp_path, subtype):
    assert warnings(tmp_path, noise(4000), subtype, "flac") == []


def test_a_flac_with_another_sum_is_named_and_one_without_is_not(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(4000), 8000)
    data = bytearray(path.read_bytes())
    for digest, words in ((bytes(range(1, 17)), ["the sound of the input is not what its MD5 sum says: it may be damaged"]), (bytes(16), [])):
        data[26:42] = digest
        path.write_bytes(data)
        check = SoundCheck(audio_info(path))
        check.update(soundfile.read(path, dtype="float32")[0])
        assert check.warnings() == words

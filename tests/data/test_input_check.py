from pathlib import Path

import numpy as np
import pytest
import soundfile

from kseparation.data.input_check import check_tracks
from kseparation.data.track_folder import TrackFolder
from kseparation.errors import UserError
from tests.songs import SAMPLE_RATE, STEMS, write_songs


def tracks_with(tmp_path: Path, audio: np.ndarray, subtype: str):
    root = write_songs(tmp_path, {"test": {"t": len(audio)}})
    soundfile.write(root / "test" / "t" / "drums.wav", audio, SAMPLE_RATE, subtype=subtype)
    return TrackFolder(str(root), STEMS, SAMPLE_RATE, 2).tracks("test")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_a_sample_that_is_not_finite_is_refused_with_its_place(tmp_path: Path, bad: float, subtype: str) -> None:
    audio = np.zeros((1000, 2))
    audio[731, 1] = bad
    with pytest.raises(UserError) as error:
        check_tracks(tracks_with(tmp_path, audio, subtype))
    assert "drums.wav" in str(error.value) and "731" in str(error.value)


def test_peaks_above_full_scale_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audio = np.zeros((1000, 2))
    audio[3, 0] = -1.5
    tracks = tracks_with(tmp_path, audio, "FLOAT")
    assert check_tracks(tracks) == {str(tracks[0].stems["drums"]): 1.5}
    assert "Peak above full scale" in caplog.text and "drums.wav reaches 1.50" in caplog.text


def test_formats_that_are_slow_to_read_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_songs(tmp_path, {"test": {"t": 4000}})
    drums = root / "test" / "t" / "drums.wav"
    soundfile.write(drums.with_suffix(".ogg"), np.zeros((4000, 2)), SAMPLE_RATE)
    drums.unlink()
    check_tracks(TrackFolder(str(root), STEMS, SAMPLE_RATE, 2).tracks("test"))
    assert "1 files, such as " in caplog.text and "drums.ogg, are decoded from their beginning" in caplog.text


def test_sound_files_pass_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert check_tracks(tracks_with(tmp_path, np.full((100, 2), 1.0), "FLOAT")) == {}
    assert caplog.text == ""


@pytest.mark.parametrize(("samples", "rate"), [(3999, SAMPLE_RATE), (4001, SAMPLE_RATE), (4000, 2 * SAMPLE_RATE)])
def test_a32_stems_that_differ_in_length_or_rate_are_reported_with_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture, samples: int, rate: int) -> None:
    root = write_songs(tmp_path, {"test": {"s": 500, "t": 4000}})
    soundfile.write(root / "test" / "t" / "drums.wav", np.zeros((samples, 2)), rate)
    check_tracks(TrackFolder(str(root), STEMS, SAMPLE_RATE, 2).tracks("test"))
    words = f"The files of 1 song, such as `t`, differ in length or sample rate: vocals.wav 4000 samples at 8000 Hz, drums.wav {samples} samples at {rate} Hz"
    assert words in caplog.text


@pytest.mark.parametrize(("samples", "is_told"), [(4000 + 4 * 1152, False), (4001 + 4 * 1152, True)])
def test_a32_padding_of_a_lossy_encoder_is_no_difference(tmp_path: Path, caplog: pytest.LogCaptureFixture, samples: int, is_told: bool) -> None:
    root = write_songs(tmp_path, {"test": {"t": 4000}})
    (root / "test" / "t" / "drums.wav").unlink()
    soundfile.write(root / "test" / "t" / "drums.ogg", np.zeros((samples, 2)), SAMPLE_RATE)
    check_tracks(TrackFolder(str(root), STEMS, SAMPLE_RATE, 2).tracks("test"))
    assert ("differ in length" in caplog.text) == is_told

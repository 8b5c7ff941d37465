import json

import numpy as np
import pytest

from kseparation.audio.files import read_audio
from kseparation.audio.resampling import resample
from kseparation.storage.hashes import file_sha256
from kseparation.workflows.separate import channel_groups
from tests.separating import SHARES, Shares, noise, run, song, stem, tree


def test_each_stem_has_rate_length_and_channels_of_the_input_and_a_manifest(tmp_path):
    path, out = song(tmp_path), tmp_path / "out"
    summary = run([path], out)
    files = ["bass.wav", "drums.wav", "manifest.json", "vocals.wav"]
    assert tree(out) == [f"demo/song/{name}" for name in files]
    for name, share in SHARES.items():
        np.testing.assert_allclose(stem(out, name), share * noise(9000), atol=0.51 / 32768)
    manifest = json.loads((out / "demo/song/manifest.json").read_text())
    assert manifest["model"] == {"name": "demo", "sha256": "abc123"}
    assert manifest["input"] == {
        "path": str(path),
        "sha256": file_sha256(path),
        "sample_rate": 8000,
        "samples": 9000,
        "channels": 2,
    }
    assert manifest["gain"] == 1.0 and manifest["warnings"] == []
    assert manifest["settings"]["overlap"] == 0.5 and manifest["settings"]["bits"] == "16"
    for entry in manifest["outputs"].values():
        assert entry["sha256"] == file_sha256(out / "demo/song" / entry["file"])
    track = summary["tracks"][0]
    assert (summary["model"], summary["model_sha256"], summary["out"]) == ("demo", "abc123", str(out))
    assert (track["track"], track["seconds"], track["skipped"]) == ("song", 9000 / 8000, False)
    assert track["outputs"]["vocals"] == str(out / "demo/song/vocals.wav") and track["realtime_factor"] > 0
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("rate", [8000, 44100, 11025, 4000])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("samples", [1, 7001])
def test_any_rate_channel_count_and_length(tmp_path, rate, channels, samples):
    run([song(tmp_path, samples=samples, channels=channels, rate=rate)], tmp_path / "out", bits="32f")
    audio = noise(samples, channels)
    there = audio if rate == 8000 else resample(resample(audio, rate, 8000), 8000, rate)
    there = np.pad(there, ((0, max(0, samples - len(there))), (0, 0)))[:samples]
    out, out_rate = read_audio(tmp_path / "out/demo/song/vocals.wav")
    assert out.shape == audio.shape and out_rate == rate
    np.testing.assert_allclose(out[:-50], 0.5 * there[:-50], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_every_channel_of_a_group_reaches_the_model_as_it_should(tmp_path, channels):
    seen = []

    class Spy(Shares):
        def predict_segments(self, batch):
            seen.append(batch.copy())
            return super().predict_segments(batch)

    run([song(tmp_path, channels=3, samples=2000)], tmp_path / "out", Spy(channels=channels))
    audio = noise(2000, 3)
    groups = [[0], [1], [2]] if channels == 1 else [[0, 1], [2, 2]]
    assert len(seen) == len(groups)
    for batch, columns in zip(seen, groups, strict=True):
        np.testing.assert_array_equal(batch[0], audio[:, columns])


def test_channel_groups():
    assert channel_groups(1, 2) == [[0]]
    assert channel_groups(6, 2) == [[0, 1], [2, 3], [4, 5]]
    assert channel_groups(7, 4) == [[0, 1, 2, 3], [4], [5], [6]]


@pytest.mark.parametrize("format, bits", [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24")])
@pytest.mark.parametrize("settings", [{}, {"stems": ("drums",)}, {"two_stems": "drums"}])
def test_with_the_residual_the_files_add_up_to_the_mixture(tmp_path, format, bits, settings):
    run([song(tmp_path)], tmp_path / "out", format=format, bits=bits, residual=True, **settings)
    total = sum(read_audio(path)[0] for path in (tmp_path / "out/demo/song").glob(f"*.{format}"))
    step = {"16": 2**-15, "24": 2**-23, "32f": 0}[bits]
    np.testing.assert_allclose(total, noise(9000), atol=0.5 * step + 2e-7)


def test_joint_gain_holds_all_files_below_full_scale_and_in_proportion(tmp_path):
    path = song(tmp_path, scale=4.0)
    summary = run([path], tmp_path / "out", residual=True)
    gain = summary["tracks"][0]["gain"]
    assert 0.5 < gain * 1.8 <= 1
    total = 0
    for name, share in [*SHARES.items(), ("residual", 0.1)]:
        audio = stem(tmp_path / "out", name)
        assert np.abs(audio).max() < 1
        np.testing.assert_allclose(audio, gain * share * 4 * noise(9000), atol=2.5 / 32768)
        total = total + audio
    np.testing.assert_allclose(total, gain * 4 * noise(9000), atol=0.51 / 32768)
    manifest = json.loads((tmp_path / "out/demo/song/manifest.json").read_text())
    assert manifest["gain"] == gain and manifest["peak_before_gain"] > 1
    assert manifest["warnings"] == summary["tracks"][0]["warnings"] == ["the input exceeds full scale: peak 3.6"]


def test_without_the_gain_it_clips_and_says_so(tmp_path):
    summary = run([song(tmp_path, scale=4.0)], tmp_path / "out", clip_mode="none")
    expected = np.clip(2 * noise(9000), -1, 32767 / 32768)
    np.testing.assert_allclose(stem(tmp_path / "out", "vocals"), expected, atol=0.51 / 32768)
    assert summary["tracks"][0]["gain"] == 1.0
    assert "peaks of 1.8 were clipped to full scale" in summary["tracks"][0]["warnings"]


def test_float_files_are_never_turned_down(tmp_path):
    summary = run([song(tmp_path, scale=4.0)], tmp_path / "out", bits="32f")
    np.testing.assert_allclose(stem(tmp_path / "out", "vocals"), 2 * noise(9000), atol=1e-6)
    assert summary["tracks"][0]["gain"] == 1.0
    assert summary["tracks"][0]["warnings"] == ["the input exceeds full scale: peak 3.6"]


@pytest.mark.parametrize("format", ["ogg", "mp3"])
def test_lossy_output_keeps_the_length(tmp_path, format):
    run([song(tmp_path, rate=44100)], tmp_path / "out", format=format)
    assert stem(tmp_path / "out", "vocals", ext=format).shape == (9000, 2)


def test_silence_stays_silence(tmp_path):
    summary = run([song(tmp_path, scale=0.0)], tmp_path / "out")
    assert not stem(tmp_path / "out", "vocals").any() and summary["tracks"][0]["gain"] == 1.0


def test_two_stems_is_the_stem_and_the_sum_of_the_others(tmp_path):
    run([song(tmp_path)], tmp_path / "out", two_stems="vocals", bits="32f")
    assert tree(tmp_path / "out/demo/song") == ["manifest.json", "no_vocals.wav", "vocals.wav"]
    np.testing.assert_allclose(stem(tmp_path / "out", "no_vocals"), 0.4 * noise(9000), atol=1e-6)


def test_two_stems_of_a_model_with_one_stem_is_the_rest_of_the_mixture(tmp_path):
    run([song(tmp_path)], tmp_path / "out", Shares({"vocals": 0.3}), two_stems="vocals", bits="32f")
    np.testing.assert_allclose(stem(tmp_path / "out", "no_vocals"), 0.7 * noise(9000), atol=1e-6)


def test_shifts_and_overlap_change_nothing_for_a_model_without_edges(tmp_path):
    run([song(tmp_path)], tmp_path / "out", shifts=2, overlap=0.75, batch_size=3, bits="32f")
    np.testing.assert_allclose(stem(tmp_path / "out", "drums"), 0.3 * noise(9000), atol=1e-6)

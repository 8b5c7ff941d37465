"""What comes in as audio and should not have, each through the command `separate`: what it says, its exit code, and that the disk is as it was.

The rows follow a catalogue, A1 to A34; those of a service and of `doctor` are left out where these have no part in reading a file.
"""

import hashlib
import os
import resource
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from kseparation.audio.files import AudioReader, audio_info, read_audio
from kseparation.cli.main import main
from tests.separating import Shares, noise

RATE = 8000


class StereoShares(Shares):
    """A model whose stems add up to nine tenths of the mixture, and which notices a value that is not finite."""

    def predict_segments(self, batch):
        assert np.all(np.isfinite(batch))
        return super().predict_segments(batch)


@pytest.fixture
def separate(tmp_path, monkeypatch, capfd):
    """Runs the command in `tmp_path` with a stand-in for the model; returns exit code, what it said, and the outputs by name."""
    model = tmp_path / "model.keras"
    model.write_bytes(b"stand-in")
    monkeypatch.setattr("kseparation.models.loading.load_model", lambda _: StereoShares())
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["separate", f"--model={model}", "--bits=32f", *map(str, arguments)])
        return code, capfd.readouterr().err

    return run


def state(folder):
    """Every entry below a folder with what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        whole = path.is_file() and not path.is_symlink() and path.stat().st_size < 10**8
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if whole else path.lstat().st_mode
    return found


def wav(folder, audio=None, name="a.wav", rate=RATE, subtype="PCM_16"):
    soundfile.write(folder / name, noise(2000) if audio is None else audio, rate, subtype=subtype)
    return folder / name


def patched(path, *changes):
    """Overwrites bytes at places counted from the beginning, or from where a mark ends."""
    data = bytearray(path.read_bytes())
    for place, value in changes:
        start = data.index(place) + len(place) if isinstance(place, bytes) else place
        data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def le(value, size=4):
    return value.to_bytes(size, "little")


# What makes a file that must be refused.


def a01_empty(folder):
    (folder / "a.wav").touch()
    return folder / "a.wav"


def a02_text(folder):
    (folder / "a.wav").write_text("these are words\n" * 50)
    return folder / "a.wav"


def a02_picture(folder):
    (folder / "a.wav").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500))
    return folder / "a.wav"


def a03_header_only(folder):
    return wav(folder, np.zeros((0, 2)))


def a05_cut_short(folder):
    path = wav(folder)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def a06_claims_gigabytes(folder):
    path = patched(wav(folder, noise(4)), (b"data", le(0xF0000000)))
    assert path.stat().st_size == 60
    return path


def a10_flac_claims_years(folder):
    path = folder / "a.flac"
    soundfile.write(path, noise(2000), RATE)
    # The 36 bits of the number of samples are the last four of byte 21 and the four bytes behind it.
    return patched(path, (21, bytes([path.read_bytes()[21] | 15])), (22, b"\xff\xff\xff\xff"))


def a14_chain_of_two_rates(folder):
    path = folder / "a.ogg"
    parts = []
    for rate in (8000, 16000):
        soundfile.write(path, noise(8000), rate)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def a15_playlist(folder):
    (folder / "a.m4a").write_text("#EXTM3U\nfile:///etc/passwd\nhttp://127.0.0.1:9/x\n")
    return folder / "a.m4a"


def a15_concat(folder):
    (folder / "a.wav").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    return folder / "a.wav"


def a16_video(folder):
    (folder / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + bytes(1000))
    return folder / "a.mp4"


def a19_nan(folder):
    audio = noise(2000)
    audio[1234, 1] = np.nan
    return wav(folder, audio, subtype="FLOAT")


def a19_infinity(folder):
    audio = noise(2000)
    audio[7, 0] = -np.inf
    return wav(folder, audio, subtype="DOUBLE")


def a25_no_channel(folder):
    return patched(wav(folder), (22, le(0, 2)))


def a25_255_channels(folder):
    return wav(folder, np.zeros((10, 255)))


def a26_one_hertz(folder):
    return wav(folder, rate=1)


def a26_two_gigahertz(folder):
    return patched(wav(folder), (24, le(2**31 - 1)))


def a28_protected(folder):
    (folder / "a.m4p").write_bytes(b"\x00\x00\x00\x20ftypM4P \x00\x00\x00\x00M4P mp42isom" + bytes(1000))
    return folder / "a.m4p"


def a29_gone(folder):
    wav(folder).unlink()
    return folder / "a.wav"


def a30_pipe(folder):
    os.mkfifo(folder / "a.wav")
    return folder / "a.wav"


def a30_device(_):
    return "/dev/zero"


def a30_loop(folder):
    (folder / "a.wav").symlink_to(folder / "a.wav")
    return folder / "a.wav"


def a30_socket(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.wav")  # a full path may be too long for one
    return folder / "a.wav"


def a31_nul(_):
    return "a\0b.wav"


REFUSED = {
    a01_empty: "`{file}` is empty (0 bytes): an audio file is required. Copy or export it again.",
    a02_text: "`{file}` is not an audio file that can be read: wav, flac, ogg, mp3 or aiff is required.",
    a02_picture: "`{file}` is not an audio file that can be read",
    a03_header_only: "`{file}` holds no sound: at least one sample is required. Received: samples=0.",
    a05_cut_short: "`{file}` is cut short: its header promises 8000 bytes of audio. Received: 4956. Copy or export it again.",
    a06_claims_gigabytes: "`{file}` is cut short: its header promises 4026531840 bytes of audio. Received: 16.",
    a10_flac_claims_years: "`{file}` is cut short: its header promises 68719476735 samples. Received: 2000.",
    a14_chain_of_two_rates: "`{file}` holds several streams one after the other: one is required. Received: another one from byte",
    a15_playlist: "`{file}` is not an audio file that can be read",
    a15_concat: "`{file}` is not an audio file that can be read",
    a16_video: "Convert it first, for example with `ffmpeg -i INPUT output.wav`.",
    a19_nan: "`{file}` holds a value that is no number: samples must be finite. Received: nan at sample 1234, channel 1",
    a19_infinity: "Received: -inf at sample 7, channel 0",
    a25_no_channel: "`{file}` is not an audio file that can be read",
    a25_255_channels: "must have 1 to 64 channels. Received: channels=255",
    a26_one_hertz: "must have a sample rate of 100 to 768000 Hz. Received: sample_rate=1",
    a26_two_gigahertz: "must have a sample rate of 100 to 768000 Hz. Received: sample_rate=2147483647",
    a28_protected: "`{file}` is not an audio file that can be read",
    a29_gone: "`{file}` does not exist: an audio file is required. Check the path.",
    a30_pipe: "`{file}` is not a regular file but a pipe, socket or device. Save the audio to a file first.",
    a30_device: "`/dev/zero` is not a regular file",
    a30_loop: "`{file}` cannot be read",
    a30_socket: "`{file}` is not a regular file",
    a31_nul: "cannot be read: embedded null byte",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_refused(tmp_path, separate, make):
    """A sound song before it in the same call is not begun either, unless only reading it to its middle shows the fault."""
    file = make(tmp_path)
    before, memory = state(tmp_path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, said = separate(file)
    assert (code, REFUSED[make].format(file=file) in said) == (2, True), said
    assert said.count("error:") == 1 and "Traceback" not in said
    assert state(tmp_path) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # kB


# What must work.


def a04_one_sample(folder):
    return wav(folder, noise(1))


def a04_ten_milliseconds(folder):
    return wav(folder, noise(80))


def a07_streamed_to_the_end(folder):
    return patched(wav(folder), (4, le(0xFFFFFFFF)), (b"data", le(0xFFFFFFFF)))


def a09_adpcm_with_wild_steps(folder):
    path = wav(folder, noise(20000), subtype="IMA_ADPCM")
    start = path.read_bytes().index(b"data") + 8
    return patched(path, (start + 2, b"\xff\xff"), (start + 6, b"\xf0\x7f"))


def a11_flac_with_another_digest(folder):
    path = folder / "a.flac"
    soundfile.write(path, noise(2000), RATE)
    return patched(path, (26, bytes(range(1, 17))))


def a12_mp3_with_a_large_picture(folder):
    path = folder / "a.mp3"
    soundfile.write(path, noise(20000), RATE)
    size = 5_000_000
    synchsafe = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\x00\x00" + synchsafe + bytes(size) + path.read_bytes())
    return path


def a13_mp3_with_garbage_between_frames(folder):
    path = folder / "a.mp3"
    soundfile.write(path, noise(40000), RATE)
    data = path.read_bytes()
    middle = data.index(data[len(data) // 2 : len(data) // 2 + 2])
    path.write_bytes(data[:middle] + b"garbage between two frames" + data[middle:])
    return path


def a20_peak_of_a_million(folder):
    return wav(folder, noise(2000) * 1e6, subtype="FLOAT")


def a20_denormals(folder):
    return wav(folder, noise(2000) * 1e-42, subtype="FLOAT")


def a21_silence(folder):
    return wav(folder, np.zeros((2000, 2)))


def a22_constant(folder):
    return wav(folder, np.ones((2000, 2)), subtype="FLOAT")


def a23_clipped_square(folder):
    return wav(folder, np.sign(noise(2000)))


def a24_mono(folder):
    return wav(folder, noise(2000, 1))


def a24_equal_channels(folder):
    return wav(folder, np.repeat(noise(2000, 1), 2, axis=1))


def a24_opposite_channels(folder):
    return wav(folder, noise(2000, 1) * np.array([1, -1]))


def a24_dead_channel(folder):
    return wav(folder, noise(2000) * np.array([1, 0]))


def a25_six_channels(folder):
    return wav(folder, noise(2000, 6))


def a26_192_kilohertz(folder):
    return wav(folder, noise(30000), rate=192000)


def a27_8_bits(folder):
    return wav(folder, subtype="PCM_U8")


def a27_24_bits(folder):
    return wav(folder, subtype="PCM_24")


def a27_32_bits(folder):
    return wav(folder, subtype="PCM_32")


def a27_64_bit_float(folder):
    return wav(folder, subtype="DOUBLE")


def a31_right_to_left_mark(folder):
    return wav(folder, name="\u202egnos \U0001f3b5 -rf.wav")


def a31_reserved_on_other_systems(folder):
    return wav(folder, name="CON.wav")


def a34_template_codes(folder):
    return wav(folder, name="{0.__class__} %s \x1b[31m.wav")


WORKS = [made for name, made in sorted(globals().items()) if name[0] == "a" and name[1:3].isdigit() and made not in REFUSED]


@pytest.mark.parametrize("make", WORKS, ids=lambda make: make.__name__)
def test_works(tmp_path, separate, make):
    """As long, as fast and with as many channels as it went in, at its own scale, and below the folder of the outputs."""
    file = make(tmp_path)
    before = state(tmp_path)
    sound, rate = read_audio(file)
    code, said = separate(file, "--out=out")
    assert code == 0, said
    after = state(tmp_path)
    assert {name: after[name] for name in before} == before
    made = {path for path in (tmp_path / "out").rglob("*.wav")}
    assert len(made) == 3 and {path.name for path in made} == {"vocals.wav", "drums.wav", "bass.wav"}
    assert not [path for path in after if path not in before and not path.startswith("out")]
    for path in made:
        assert "\x1b" not in str(path) and "\u202e" not in str(path)
        stem, stem_rate = read_audio(path)
        assert (stem.shape, stem_rate) == (sound.shape, rate)
        if path.name == "vocals.wav" and rate == RATE:
            np.testing.assert_allclose(stem, 0.5 * sound, atol=1e-5 * max(np.abs(sound).max(), 1e-3))
    assert "\x1b" not in said


@pytest.mark.parametrize(("format", "subtype"), [("RF64", "PCM_16"), ("W64", "PCM_16")])
def test_a08_more_than_4_gigabytes_are_read_where_they_are(tmp_path, format, subtype):
    """The file is a hole but for its ends."""
    path, samples = tmp_path / "a.wav", 1_200_000_000
    sound = noise(1000)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype, format=format) as file:
        file.write(sound)
        header = path.stat().st_size  # what is buffered comes later
    start = path.stat().st_size - 4000
    assert header <= start + 4000
    with open(path, "r+b") as file:
        file.truncate(start + 4 * samples)
        file.seek(start + 4 * (samples - 1000))
        file.write((sound * 32767).astype("<i2").tobytes())
    with open(path, "rb") as file:
        data = file.read(start)
    sizes = {le(4000, 8): le(4 * samples, 8), le(1000, 8): le(samples, 8), le(4024, 8): le(4 * samples + 24, 8)}
    for old, new in sizes.items():
        for place in range(0, start - 7):
            if data[place : place + 8] == old:
                with open(path, "r+b") as file:
                    file.seek(place)
                    file.write(new)
    assert path.stat().st_size > 2**32 and path.stat().st_blocks * 512 < 10**7
    with AudioReader(path) as reader:
        assert reader.info.samples == samples
        np.testing.assert_allclose(reader.read(samples - 500, 500), sound[500:], atol=1e-4)


def test_a17_a18_a_day_of_silence_in_a_small_file_is_streamed(tmp_path, separate, monkeypatch):
    """Memory stays flat, and so does the disk but for the outputs."""
    path, minute = tmp_path / "a.flac", np.zeros((6000, 1))
    with soundfile.SoundFile(path, "w", 100, 1, "PCM_16", format="FLAC") as file:
        for _ in range(24 * 60):
            file.write(minute)
    assert path.stat().st_size < 200_000
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr("kseparation.models.loading.load_model", lambda _: StereoShares(sample_rate=100, segment_samples=100_000))
    code, said = separate(path, "--out=out", "--stems=vocals", "--format=flac", "--bits=16")
    assert code == 0, said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 600_000
    assert audio_info(next((tmp_path / "out").rglob("vocals.flac"))).samples == 24 * 3600 * 100


def test_a29_a_file_that_shrinks_while_it_is_separated(tmp_path, separate, monkeypatch):
    path = wav(tmp_path, noise(60000))
    whole = state(tmp_path)
    predict = StereoShares.predict_segments

    def shrinking(self, batch):
        path.write_bytes(path.read_bytes()[:40000])
        return predict(self, batch)

    monkeypatch.setattr(StereoShares, "predict_segments", shrinking)
    code, said = separate(path, "--out=out")
    assert code == 2 and f"`{path}` is cut short: its header promises 60000 samples." in said and "Traceback" not in said
    assert set(state(tmp_path)) == set(whole)


@pytest.mark.parametrize("name", ["x" * 240 + ".wav", "-rf.wav", "a\nb.wav", "trailing. .wav"])
def test_a31_names_are_kept_inside_the_folder_of_the_outputs(tmp_path, separate, name):
    wav(tmp_path, name=name)
    code, said = separate("--out=out", "--", tmp_path / name)
    assert code == 0, said
    assert len([*(tmp_path / "out").rglob("*.wav")]) == 3 and {path.name for path in tmp_path.iterdir()} == {name, "out", "model.keras"}


def test_a31_names_that_become_alike_do_not_meet(tmp_path, separate):
    for name in ("a\x01.wav", "a\x02.wav"):
        wav(tmp_path, name=name)
    before = state(tmp_path)
    code, said = separate("--out=out", tmp_path)
    if code == 0:
        assert len([*(tmp_path / "out").rglob("*.wav")]) == 6
    else:
        assert code == 2 and "a" in said and state(tmp_path) == before


def test_a31_a_path_that_climbs_writes_below_out_alone(tmp_path, separate):
    (tmp_path / "songs" / "deep").mkdir(parents=True)
    wav(tmp_path)
    code, said = separate("--out=songs/out", "songs/deep/../../a.wav")
    assert code == 0, said
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "songs", "model.keras"} and {path.name for path in (tmp_path / "songs").iterdir()} == {"deep", "out"}


def test_a33_outputs_that_are_there_are_replaced_whole_or_skipped(tmp_path, separate):
    path = wav(tmp_path)
    assert separate(path, "--out=out")[0] == 0
    first = state(tmp_path / "out")
    code, said = separate(path, "--out=out", "--skip_existing")
    assert code == 0 and "done before, skipped" in said and state(tmp_path / "out") == first
    wav(tmp_path, noise(1000, seed=1))
    assert separate(path, "--out=out", "--skip_existing")[0] == 0
    assert {audio_info(file).samples for file in (tmp_path / "out").rglob("*.wav")} == {1000}


def test_a33_a_place_that_cannot_be_written_is_named_before_any_work(tmp_path, separate, monkeypatch):
    path = wav(tmp_path)
    (tmp_path / "file").write_text("x")
    before = state(tmp_path)
    monkeypatch.setattr(StereoShares, "predict_segments", lambda *_: pytest.fail("too late"))
    code, said = separate(path, "--out=file/out")
    assert code == 2 and "file" in said and "Traceback" not in said and state(tmp_path) == before


@pytest.mark.slow
def test_a33_a_disk_that_fills_up_midway_leaves_nothing_half_written(tmp_path):
    """A real small disk: the process may write a megabyte at most to a file."""
    path = wav(tmp_path, noise(400_000))
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "import kseparation.models.loading as loading\n"
        "from tests.separating import Shares\n"
        "loading.load_model = lambda _: Shares()\n"
        "from kseparation.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (tmp_path / "model.keras").write_bytes(b"stand-in")
    before = state(tmp_path)
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    ended = subprocess.run([sys.executable, "-c", program, "separate", f"--model={tmp_path / 'model.keras'}", f"--out={tmp_path / 'out'}", str(path)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
    assert ended.returncode in (2, 5) and "Traceback" not in ended.stderr and "File too large" in ended.stderr, ended.stderr
    assert state(tmp_path) == before

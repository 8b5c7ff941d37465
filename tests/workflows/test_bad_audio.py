"""What comes in as audio and should not have, each through the command `separate`: what it says, its exit code, and that the disk is as it was.

The rows follow a catalogue, A1 to A34; those of a service are left out where it has no part in reading a file, and A32 stands in `tests/data/test_input_check.py`. A file that is cut short (A5) or holds NaN
(A19) is always refused: there is no flag to take what is there. libsndfile itself refuses the block sizes of A9, so no process has to die for it.
"""

import hashlib
import os
import socket
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from kseparation.audio.files import AudioReader, audio_info, read_audio
from kseparation.audio.sound_check import scale_to_music
from kseparation.cli.main import main
from kseparation.models import MoisesLight
from tests.audio_files.making import RATE, le, wav
from tests.audio_files.odd import NAMES, WORKS
from tests.audio_files.refused import REFUSED, SEEN_WHILE_READING
from tests.random_weights import randomize
from tests.separating import Shares, noise

# A small Moises-Light.
TINY = {"window_samples": 512, "hop_samples": 128, "bins": 192, "width": 8, "levels": 1, "convolutions": 1, "transformers": 1, "segment_samples": 2000}


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


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_refused(tmp_path, separate, make, monkeypatch):
    """A sound song before it in the same call is not begun either, no connection is opened, and memory stays small whatever a header claims."""
    good, file = wav(tmp_path, name="good.wav"), make(tmp_path)
    before, calls = state(tmp_path), []
    monkeypatch.setattr(socket.socket, "connect", lambda *_: calls.append("connected"))
    if make not in SEEN_WHILE_READING:
        monkeypatch.setattr(StereoShares, "predict_segments", lambda *_: calls.append("separated"))
    tracemalloc.start()
    code, said = separate(*([file] if make in SEEN_WHILE_READING else [good, file]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 2 and not calls, said
    assert all(words.format(file=file) in said for words in REFUSED[make]), said
    assert said.count("error:") == 1 and "Traceback" not in said
    assert state(tmp_path) == before
    assert peak < 30_000_000


@pytest.mark.parametrize("make", WORKS, ids=lambda make: make.__name__)
def test_works(tmp_path, separate, make):
    """As long, as fast and with as many channels as it went in, at its own scale, with a warning where it deserves one, and below the folder of the outputs."""
    made = make(tmp_path)
    sound, peak = np.asarray(made.sound, "float64"), np.abs(made.sound).max()
    before = state(tmp_path)
    code, said = separate(made.path, "--out=out")
    assert code == 0, said
    after = state(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {path.name for path in (tmp_path / "out").rglob("*.wav")} == {"vocals.wav", "drums.wav", "bass.wav"}
    assert not [path for path in after if path not in before and not path.startswith("out")]
    for name, share in (("vocals", 0.5), ("bass", 0.1)):
        stem, rate = read_audio(next((tmp_path / "out").rglob(f"{name}.wav")))
        assert rate == made.rate and stem.shape[1] == sound.shape[1] and abs(len(stem) - len(sound)) <= made.longer
        middle = slice(None) if made.rate == RATE else slice(len(sound) // 4, 3 * len(sound) // 4)  # resampling rings at the ends
        if not made.longer:
            np.testing.assert_allclose(stem[middle], share * sound[middle], atol=max((1e-5 if made.rate == RATE else 1e-3) * peak, 5e-45))
        assert np.any(stem) == bool(peak)
    assert made.warning in said
    assert made.warning or not [line for line in said.splitlines() if line.startswith("a: ") and "realtime" not in line], said


@pytest.mark.parametrize("name", NAMES)
def test_a31_a34_names_are_text_and_one_component_on_any_system(tmp_path, separate, name):
    wav(tmp_path, name=name)
    code, said = separate("--out=out", "--", tmp_path / name)
    assert code == 0, said
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.wav")} == {NAMES[name]}
    assert {path.name for path in tmp_path.iterdir()} == {name, "out", "model.keras"}
    assert "\x1b" not in said


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a20_to_a23_a_real_network_stays_finite_under_every_policy(policy):
    """At the scale that `separate` gives them."""
    model = MoisesLight(**TINY, dtype=policy)
    model.build((None, None, model.channels))
    randomize(model)
    square = np.sign(noise(model.segment_samples, model.channels))
    for sound in (0 * square, np.ones_like(square), square, 1e6 * square, 1e-42 * square):
        sound = (sound * np.float64(scale_to_music(float(np.abs(sound).max())))).astype("float32")
        stems = model.predict_segments(sound[None])
        assert np.all(np.isfinite(stems)) and np.any(stems) == np.any(sound)


@pytest.mark.parametrize(("format", "subtype"), [("RF64", "PCM_16"), ("W64", "PCM_16")])
def test_a08_more_than_4_gigabytes_are_read_where_they_are(tmp_path, format, subtype):
    """The file is a hole but for its ends."""
    path, samples = tmp_path / "a.wav", 1_200_000_000
    sound = noise(1000)
    with soundfile.SoundFile(path, "w", 44100, 2, subtype, format=format) as file:
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


def test_a17_a_day_is_streamed(tmp_path, separate, monkeypatch):
    """An hour takes as much memory as a day."""
    monkeypatch.setattr("kseparation.models.loading.load_model", lambda _: StereoShares(sample_rate=100, segment_samples=10_000))
    peaks, hour = [], noise(360_000, 1).astype("float32")
    for hours in (1, 24):
        path = tmp_path / f"{hours}.flac"
        with soundfile.SoundFile(path, "w", 100, 1, "PCM_16", format="FLAC") as file:
            for _ in range(hours):
                file.write(hour)
        tracemalloc.start()
        code, said = separate(path, "--out=out", "--stems=vocals", "--format=flac", "--bits=16")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert code == 0, said
        assert audio_info(next((tmp_path / "out").rglob(f"{hours}/vocals.flac"))).samples == hours * 360_000
    # The day has 35 MB for each copy of its sound.
    assert peaks[1] < peaks[0] + 5_000_000


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


def test_a31_names_that_become_alike_are_refused_before_any_work(tmp_path, separate):
    for name in ("a\x01.wav", "a\x02.wav"):
        wav(tmp_path, name=name)
    before = state(tmp_path)
    code, said = separate("--out=out", tmp_path)
    assert code == 2 and "a_" in said and said.count("error:") == 1 and state(tmp_path) == before, said


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
    assert code == 2 and "error: `file" in said and "cannot be written" in said and "Traceback" not in said and state(tmp_path) == before, said


@pytest.mark.slow
def test_a33_a_disk_that_fills_up_midway_leaves_nothing_half_written(tmp_path):
    """The process may write a megabyte at most to a file, which the system says as it says that a disk is full."""
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
    assert ended.returncode == 5 and "Traceback" not in ended.stderr and "File too large" in ended.stderr, ended.stderr
    assert state(tmp_path) == before

"""Files that are odd and must work, each by the row of the catalogue, with what they hold."""

import wave
from typing import NamedTuple

import numpy as np
import soundfile

from tests.audio_files.making import RATE, flac_claiming, le, mp3_frames, patched, wav
from tests.separating import noise


class Made(NamedTuple):
    """A file and what it holds: the sound if it is known, and words of the warning that it deserves."""

    path: object
    sound: np.ndarray
    rate: int = RATE
    warning: str = ""
    longer: int = 0


def plain(folder, audio, name="a.wav", subtype="FLOAT", **made):
    return Made(wav(folder, audio, name, made.get("rate", RATE), subtype), audio, **made)


def a04_one_sample(folder):
    return plain(folder, noise(1))


def a04_ten_milliseconds(folder):
    return plain(folder, noise(80))


def a07_streamed_to_the_end(folder):
    made = plain(folder, noise(2000))
    patched(made.path, (4, le(0xFFFFFFFF)), (b"data", le(0xFFFFFFFF)))
    return made


def a07_size_left_at_zero(folder):
    made = plain(folder, noise(2000))
    patched(made.path, (4, le(0)))
    return made


def a09_adpcm_with_wild_steps(folder):
    path = wav(folder, noise(20000), subtype="IMA_ADPCM")
    start = path.read_bytes().index(b"data") + 8
    patched(path, (start + 2, b"\xff\xff"), (start + 6, b"\xf0\x7f"))
    return Made(path, soundfile.read(path, dtype="float32")[0])


def a10_flac_that_does_not_know_its_length(folder):
    path = flac_claiming(folder, 0)
    return Made(path, np.round(noise(2000) * 32768) / 32768)


def a10_flac_that_claims_all_there_is(folder):
    path = flac_claiming(folder, 2**36 - 1)
    return Made(path, np.round(noise(2000) * 32768) / 32768)


def a11_flac_with_another_digest(folder):
    path = folder / "a.flac"
    soundfile.write(path, noise(2000), RATE)
    return Made(patched(path, (26, bytes(range(1, 17)))), np.round(noise(2000) * 32768) / 32768, warning="is not what its MD5 sum says")


def a11_flac_of_24_bits_as_it_should_be(folder):
    path = folder / "a.flac"
    soundfile.write(path, noise(2000), RATE, subtype="PCM_24")
    return Made(path, noise(2000))


def mp3(folder, samples=40000):
    """An mp3, its bytes, and what libsndfile makes of it before anything is done to it."""
    path = folder / "a.mp3"
    soundfile.write(path, 0.3 * noise(samples), RATE)
    return path, path.read_bytes(), soundfile.read(path, dtype="float32")[0]


def a12_mp3_with_a_large_picture(folder):
    path, data, sound = mp3(folder)
    size = 50_000_000
    synchsafe = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\x00\x00" + synchsafe + bytes(size) + data)
    return Made(path, sound)


def a13_mp3_with_garbage_between_frames(folder):
    path, data, sound = mp3(folder)
    starts = list(mp3_frames(data))
    assert len(starts) > 50
    middle = starts[len(starts) // 2]
    path.write_bytes(data[:middle] + b"garbage between two frames" * 20 + data[middle:])
    return Made(path, sound, longer=2 * 1152)  # a frame or two may be lost or heard twice


def a13_mp3_without_a_table_of_contents(folder):
    path, data, sound = mp3(folder)
    second = list(mp3_frames(data))[1]
    path.write_bytes(data[second:])  # the first frame holds the table and the length
    return Made(path, sound, longer=2 * 1152)


def a20_peak_of_a_million(folder):
    return plain(folder, noise(2000) * 1e6, warning="exceeds full scale: peak 8.997e+05; it was separated at full scale and scaled back")


def a20_denormals(folder):
    return plain(folder, noise(2000) * np.float32(1e-42), warning="nearly silent: peak 8.")


def a21_silence(folder):
    return plain(folder, np.zeros((2000, 2)), warning="the input is silent")


def a22_constant(folder):
    return plain(folder, np.ones((2000, 2)), warning="channel 1 of the input is off zero by 1")


def a23_clipped_square(folder):
    return plain(folder, np.sign(noise(2000)))


def a24_mono(folder):
    return plain(folder, noise(2000, 1))


def a24_equal_channels(folder):
    return plain(folder, np.repeat(noise(2000, 1), 2, axis=1))


def a24_opposite_channels(folder):
    return plain(folder, noise(2000, 1) * np.array([1, -1]))


def a24_dead_channel(folder):
    return plain(folder, noise(2000) * np.array([1, 0]))


def a25_six_channels(folder):
    return plain(folder, noise(2000, 6))


def tone(rate):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate)[:, None] / rate) * np.ones((1, 2))


def a26_22_kilohertz(folder):
    return plain(folder, tone(22050), rate=22050)


def a26_192_kilohertz(folder):
    return plain(folder, tone(192000), rate=192000)


def of_integers(folder, bits):
    """A wav as Python's own library writes it, with the smallest and the largest number."""
    values = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2000, 2))
    values[:2] = [[-(2 ** (bits - 1))], [2 ** (bits - 1) - 1]]
    stored = (values + 128).astype("u1") if bits == 8 else values.astype("<i4").view("u1").reshape(2000, 2, 4)[..., : bits // 8]
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setparams((2, bits // 8, RATE, 0, "NONE", ""))
        file.writeframes(stored.tobytes())
    return Made(folder / "a.wav", values / 2 ** (bits - 1))


def a27_8_bits(folder):
    return of_integers(folder, 8)


def a27_16_bits(folder):
    return of_integers(folder, 16)


def a27_24_bits(folder):
    return of_integers(folder, 24)


def a27_32_bits(folder):
    return of_integers(folder, 32)


def a27_64_bit_float(folder):
    return plain(folder, noise(2000), subtype="DOUBLE")


NAMES = {
    "\u202egnos \U0001f3b5 -rf.wav": "_gnos \U0001f3b5 -rf",
    "CON.wav": "_CON",
    "lpt1.song.wav": "_lpt1.song",
    "{0.__class__} %s \x1b[31m.wav": "{0.__class__} %s _[31m",
    "-rf.wav": "-rf",
    "a\nb.wav": "a_b",
    "trailing. .wav": "trailing",
    "x" * 240 + ".wav": "x" * 200,
}
WORKS = [made for name, made in sorted(globals().items()) if name[0] == "a" and name[1:3].isdigit()]

"""Files that must be refused, each by the row of the catalogue, and what is said of them."""

import os
import socket

import numpy as np
import soundfile

from tests.audio_files.making import RATE, flac_claiming, le, patched, wav
from tests.separating import noise


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


def a09_adpcm_block_beyond_the_file(folder):
    return patched(wav(folder, noise(20000), subtype="IMA_ADPCM"), (32, le(0xFFFF, 2)))


def a09_adpcm_more_samples_than_a_block_holds(folder):
    return patched(wav(folder, noise(20000), subtype="IMA_ADPCM"), (38, le(0xFFFF, 2)))


def a10_flac_claims_an_hour(folder):
    return flac_claiming(folder, 3600 * RATE)


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


def a15_hls(folder):
    (folder / "a.mp3").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    return folder / "a.mp3"


def a16_video(folder):
    (folder / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41" + bytes(1000))
    return folder / "a.mp4"


def a18_forty_hours_in_a_small_file(folder):
    path, hour = folder / "a.flac", np.zeros((360_000, 1))
    with soundfile.SoundFile(path, "w", 100, 1, "PCM_16", format="FLAC") as file:
        for _ in range(40):
            file.write(hour)
    assert path.stat().st_size < 500_000
    return path


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


def a30_folder(folder):
    (folder / "a.wav").mkdir()
    return folder / "a.wav"


def a30_loop(folder):
    (folder / "a.wav").symlink_to(folder / "a.wav")
    return folder / "a.wav"


def a30_socket(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.wav")  # a full path may be too long for one
    return folder / "a.wav"


def a31_nul(_):
    return "a\0b.wav"


NO_AUDIO = ("`{file}` is not an audio file that can be read: wav, flac, ogg, mp3 or aiff is required.", "Received: ", "Convert it first")
SHORT = "Copy or export it again."
NO_FILE = "Save the audio to a file first."
# What is said: the file, what was received, and the cure.
REFUSED = {
    a01_empty: ("`{file}` is empty (0 bytes): an audio file is required.", SHORT),
    a02_text: NO_AUDIO,
    a02_picture: NO_AUDIO,
    a03_header_only: ("`{file}` holds no sound: at least one sample is required. Received: samples=0.",),
    a05_cut_short: ("`{file}` is cut short: its header promises 8000 bytes of audio. Received: 4956.", SHORT),
    a06_claims_gigabytes: ("`{file}` is cut short: its header promises 4026531840 bytes of audio. Received: 16.", SHORT),
    a09_adpcm_block_beyond_the_file: NO_AUDIO,
    a09_adpcm_more_samples_than_a_block_holds: NO_AUDIO,
    a10_flac_claims_an_hour: ("`{file}` is cut short: its header promises 28800000 samples. Received: 2000.", SHORT),
    a14_chain_of_two_rates: ("`{file}` holds several streams one after the other: one is required. Received: another one from byte", "Join them first"),
    a15_playlist: NO_AUDIO,
    a15_concat: NO_AUDIO,
    a15_hls: NO_AUDIO,
    a16_video: NO_AUDIO,
    a18_forty_hours_in_a_small_file: ("`{file}` lasts longer than 100,000 seconds", "Received: 144,000 s", "Cut it into parts."),
    a19_nan: ("`{file}` holds a value that is no number: samples must be finite. Received: nan at sample 1234, channel 1", "Export the file again"),
    a19_infinity: ("`{file}` holds a value that is no number: samples must be finite. Received: -inf at sample 7, channel 0", "Export the file again"),
    a25_no_channel: NO_AUDIO,
    a25_255_channels: ("`{file}` must have 1 to 64 channels. Received: channels=255.", "export it again"),
    a26_one_hertz: ("`{file}` must have a sample rate of 100 to 768000 Hz. Received: sample_rate=1.", "export it again"),
    a26_two_gigahertz: ("`{file}` must have a sample rate of 100 to 768000 Hz. Received: sample_rate=2147483647.", "export it again"),
    a28_protected: ("`{file}` is protected against copying (DRM)", "Received: an encrypted MPEG-4 file", "Buy or export it without the protection."),
    a29_gone: ("`{file}` does not exist: an audio file is required. Check the path.",),
    a30_pipe: ("`{file}` is not a regular file but a pipe, socket or device.", NO_FILE),
    a30_device: ("`/dev/zero` is not a regular file but a pipe, socket or device.", NO_FILE),
    a30_folder: ("`{file}` holds no audio files", "Name a folder that does."),
    a30_loop: ("`{file}` cannot be read", "Check the path"),
    a30_socket: ("`{file}` is not a regular file but a pipe, socket or device.", NO_FILE),
    a31_nul: ("`a\0b.wav` cannot be read: embedded null byte.", "Check the path"),
}
# Only reading to the place shows it, so the song before has been separated by then.
SEEN_WHILE_READING = (a19_nan, a19_infinity)

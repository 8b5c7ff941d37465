"""Small audio files, and bytes of them that are overwritten."""

import soundfile

from tests.separating import noise

RATE = 8000


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


def flac_claiming(folder, samples):
    path = folder / "a.flac"
    soundfile.write(path, noise(2000), RATE)
    # The 36 bits of the number of samples are the last four of byte 21 and the four bytes behind it.
    return patched(path, (21, bytes([path.read_bytes()[21] & 240 | samples >> 32])), (22, (samples & 0xFFFFFFFF).to_bytes(4, "big")))


def mp3_frames(data):
    """Where the frames of an mp3 of layer III begin: of 8 kHz or of 44.1 kHz, the two that are made here."""
    place = next(index for index in range(len(data)) if data[index] == 255 and data[index + 1] >> 5 == 7)
    while place + 4 <= len(data) and data[place] == 255:
        yield place
        first = data[place + 1] >> 3 & 3 == 3  # MPEG 1
        rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320) if first else (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
        samples, rate = (144, 44100) if first else (72, 8000)
        place += samples * rates[data[place + 2] >> 4] * 1000 // rate + (data[place + 2] >> 1 & 1)

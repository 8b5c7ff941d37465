"""Speaks syllables with espeak-ng; run as a program of its own, for each singer once.

A fresh process, because the library carries random state from one utterance to the next: in a shared process a voice
would depend on which songs were made before.
Standard library only, so that the process starts in milliseconds. Input: JSON on standard input with `library`, `data`,
`voice`, `pitch`, `rate` and `texts`.
Output: for each text four bytes with the number of samples, then the samples as 16-bit integers at 22.05 kHz,
little-endian.
"""

import ctypes
import json
import struct
import sys

_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4


def main() -> None:
    """Reads the request, speaks, writes the samples."""
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    library.espeak_Initialize(_SYNCHRONOUS, 0, request["data"].encode(), 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the library seeds itself with the clock
    pieces = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def receive(wave, samples, _):
        if wave and samples > 0:
            pieces.append(ctypes.string_at(wave, 2 * samples))
        return 0

    library.espeak_SetSynthCallback(receive)
    library.espeak_SetVoiceByName(request["voice"].encode())
    library.espeak_SetParameter(_RATE, request["rate"], 0)
    library.espeak_SetParameter(_PITCH, request["pitch"], 0)
    library.espeak_SetParameter(_PITCH_RANGE, 20, 0)
    for text in request["texts"]:
        pieces.clear()
        data = text.encode()
        library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        sound = b"".join(pieces)
        sys.stdout.buffer.write(struct.pack("<I", len(sound) // 2) + sound)


if __name__ == "__main__":
    main()

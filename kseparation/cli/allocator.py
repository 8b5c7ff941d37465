"""Memory that is freed stays with the process, where the C library would give it back to the system."""

import ctypes
import os
import platform

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Makes glibc reuse the large blocks that a training step frees; call it before a backend is imported. Returns whether it did.

    By default each tensor above 32 MiB at the latest is a mapping of its own, which the system fills with zeros, page by page, at every step: a quarter of the processor
    time of a training step of the demo on TensorFlow, and its caches with it. The largest extent of the process stays the same. Inference gains nothing and compiling
    takes a fifth longer, so only commands that train call this. Elsewhere than on Linux with glibc, and where the environment already sets the allocator (`MALLOC_*`, `GLIBC_TUNABLES`), nothing is done.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    library = ctypes.CDLL(None)
    # Threads with an arena of their own would still map what is larger than it, hence one arena; -1 never gives the end of it back.
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 2**26))
    return all(library.mallopt(parameter, value) == 1 for parameter, value in settings)

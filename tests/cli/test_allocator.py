"""Whether freed memory is used again, in processes of their own, since the setting cannot be taken back."""

import os
import platform
import subprocess
import sys

PAGES = """
import ctypes, resource, sys, threading
from kseparation.cli.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else False)
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def fill():
    for _ in range(20):
        block = ctypes.c_void_p(library.malloc(1 << 26))
        ctypes.memset(block, 1, 1 << 26)
        library.free(block)
threads = [threading.Thread(target=fill), threading.Thread(target=fill)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for thread in threads:
    thread.start()
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode, **variables):
    """Whether freed memory is kept, and the page faults of filling 64 MiB forty times over."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    answer = subprocess.run([sys.executable, "-c", PAGES, mode], env=environment, capture_output=True, text=True, check=True).stdout.split()
    return answer[0] == "True", int(answer[1])


def test_freed_blocks_are_used_again_in_every_thread():
    kept, few = faults("keep")
    plain, many = faults("leave")
    assert not plain
    assert kept == (platform.libc_ver()[0] == "glibc")
    assert not kept or few < many / 5


def test_what_the_environment_sets_stays():
    assert not faults("keep", MALLOC_ARENA_MAX="4")[0]

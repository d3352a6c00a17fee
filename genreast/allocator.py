"""A program's memory once its libraries are loaded: keep what is freed for the next batch, and look
for garbage among what is new alone.
"""

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3), of glibc
LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc refuses more on 64-bit machines
NEVER_TRIM = 2**31 - 1
COLLECT_EVERY = 700  # objects, Python's own default


def settle() -> None:
    """Call this between loading and work: what lives now is taken to live to the end."""
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Have this process reuse freed memory instead of giving it back to the system.

    A tensor of a megabyte is otherwise a new mapping each time, whose every page faults when it is
    first written. Does nothing where the C library is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)

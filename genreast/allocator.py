"""The C library's memory: keep what is freed, for the next batch needs as much again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3), of glibc
LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc refuses more on 64-bit machines
NEVER_TRIM = 2**31 - 1


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

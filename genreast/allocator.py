"""The C library's memory: keep what is freed, for the next batch needs as much again, and give
back what decoding leaves in pieces.
"""

import ctypes
import functools
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3), of glibc
LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc refuses more on 64-bit machines
NEVER_TRIM = 2**31 - 1
PIECES = 64 << 20  # bytes of decoded sound after which what is left in pieces is given back

_decoded = 0  # bytes since then


def keep_freed_memory() -> None:
    """Have this process reuse freed memory instead of giving it back to the system.

    A tensor of a megabyte is otherwise a new mapping each time, whose every page faults when it is
    first written. Does nothing where the C library is not glibc.
    """
    if mallopt := _of_glibc("mallopt"):
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)


def give_back_after(decoded: int) -> None:
    """Note that so many bytes of sound were decoded; now and then give unused memory back.

    glibc hardly takes again what was allocated aligned, as FFmpeg and torch do (its bug 14581):
    by decoding a process grew by half a megabyte a clip of 10 s, without end.
    """
    global _decoded
    _decoded += decoded  # threads may lose a few: no matter
    if _decoded >= PIECES:
        _decoded = 0
        if trim := _of_glibc("malloc_trim"):
            trim(0)


@functools.cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it has it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None

"""One run at a time, told by a file that is there as long as a run holds it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from genreast.errors import UserError


@contextlib.contextmanager
def alone(lock_file: Path, refusal: str) -> Iterator[None]:
    """Within it no other run holds the lock file; raises UserError where one does."""
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(refusal) from error
    try:
        yield
    finally:
        # While the lock is held: who opened the file before sees that it has lost its name.
        lock_file.unlink(missing_ok=True)
        lock.release()

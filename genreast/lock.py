"""One run at a time, told by a file that is there as long as a run holds it."""

import contextlib
import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock

from genreast.errors import UserError

LOCK_FILE = ".lock"  # within a folder that one run fills
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # of a network's disk that was mounted without them


@contextlib.contextmanager
def alone(lock_file: Path, refusal: str) -> Iterator[None]:
    """Within it no other run holds the lock file; raises UserError where one does.

    Where the disk knows no locks that is said, and left to the user.
    """
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(refusal) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"the disk of '{lock_file.parent}' knows no locks ({error.strerror}): see that no other"
            " run writes there",
            file=sys.stderr,
        )
    try:
        yield
    finally:
        # While the lock is held: who opened the file before sees that it has lost its name.
        lock_file.unlink(missing_ok=True)
        lock.release()

"""Files that are never seen half written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from genreast.errors import DISK_FULL


@contextlib.contextmanager
def at_once(path: str | Path) -> Iterator[Path]:
    """Where to write a file that is to get the name `path` once it is whole: `<path>.part`.

    What stood there before stays until then. After an error it stays for good, and the part is
    removed. The error of a full disk names no file: it is given this one's name.
    """
    part = Path(f"{path}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL and not error.filename:
            error.filename = str(path)
        with contextlib.suppress(OSError):
            part.unlink()
        raise

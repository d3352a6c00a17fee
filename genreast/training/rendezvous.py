"""Where the processes of a run wait for one another: told where they wait in vain.

A launcher says in variables how many there are, and so may a scheduler, or a shell that a launcher
was tried in, where one process alone is meant.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from torch.distributed import DistError

from genreast.errors import UserError, one_line

PATIENCE = 30  # seconds; processes of one launch are seconds apart
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
PLACE = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextlib.contextmanager
def rendezvous() -> Iterator[None]:
    """Within it the processes meet. Raises UserError where they cannot."""
    found = [name for name in (*SIZES, *RANKS, *PLACE) if name in os.environ]
    alone = f"to train in one process, unset {' '.join(found)}"
    timer = threading.Timer(PATIENCE, _tell, [alone])
    timer.daemon = True
    if any(os.environ.get(name, "1") != "1" for name in SIZES):
        timer.start()
    try:
        yield
    except (DistError, ValueError) as error:
        cause = one_line(error)
        if isinstance(error, ValueError):  # accelerate's own, or of a setting
            if "MASTER_ADDR" not in cause:
                raise
            cause = "MASTER_ADDR, the first one's host, is not set"
        raise UserError(f"the processes of this run cannot meet: {cause}; {alone}") from error
    finally:
        timer.cancel()


def _tell(alone: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"waiting for the other processes of this run; {alone}", file=sys.stderr)

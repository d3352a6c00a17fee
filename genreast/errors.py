"""What a user can mend: one exception, and the wrapper every script ends with."""

import errno
import gc
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable

from tqdm import tqdm

FIRST_SPEAKS_WITHIN = 10  # seconds
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """A mistake its reader can mend. The text names the value, what was expected and the remedy."""


def run(main: Callable[[], int | None]) -> None:
    """Run a script's `main` and exit: 0 or its return value, 130 on Ctrl-C, 2 on a `UserError` or
    a file or folder that the system refuses.

    Only these are shortened to their message; a fault of this project keeps its traceback. Under
    `accelerate launch` a mistake that all processes meet is told once.
    """
    # AST's 128 mel bins over 257 frequencies leave the lowest filters empty: so it was trained.
    warnings.filterwarnings("ignore", message="At least one mel filter")
    # torch and transformers make a million objects as they load, which live to the end: looking
    # them over for garbage every few hundred took a sixth of the start.
    gc.set_threshold(100_000)
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        status = main()
    except UserError as error:
        _tell(str(error))
        status = 2
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print("stopped", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; Python would complain again at exit.
        _let_go_of_output()
        status = 0
    except OSError as error:
        # No room, no right to write, a file where a folder should be: the disk is the user's.
        if error.filename and error.strerror:
            _tell(f"'{error.filename2 or error.filename}': {error.strerror}")
        elif error.errno in DISK_FULL:
            _tell(f"what this makes could not be written: {error.strerror}")
            _let_go_of_output()
        else:
            raise
        status = 2
    logging.shutdown()
    sys.exit(status)


def _let_go_of_output() -> None:
    """What still waits for standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(message: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        # Where the first process met it too, the launcher ends this one meanwhile.
        time.sleep(FIRST_SPEAKS_WITHIN)
    tqdm.write(f"error: {message}", file=sys.stderr)  # below a bar, not behind it

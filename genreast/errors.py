"""What a user can mend: one exception, and the wrapper every script ends with."""

import errno
import logging
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from genreast import garbage

FIRST_SPEAKS_WITHIN = 10  # seconds
HUB_CLIENT = "huggingface_hub.utils._http"  # the logger of its retries
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
    # Pictures are files here. A notebook hands its own backend down to the commands that it starts,
    # which matplotlib refuses where that is not installed.
    os.environ["MPLBACKEND"] = "agg"
    garbage.defer_collection()
    logging.getLogger(HUB_CLIENT).addFilter(_first_try_alone())
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    # Names of genres and files need not fit the terminal's encoding, nor be Unicode at all.
    sys.stdout.reconfigure(errors="backslashreplace")
    pressed = _note_ctrl_c()
    try:
        _check_docstrings()
        status = main()
    except BaseException as error:
        # Libraries that are being imported turn Ctrl-C into errors of their own.
        if pressed or isinstance(error, KeyboardInterrupt):
            status = 130
            if os.environ.get("RANK", "0") == "0":
                print("stopped", file=sys.stderr)
        elif (status := _explain(error)) is None:
            raise
    logging.shutdown()
    garbage.skip_last_collection()
    sys.exit(status)


def one_line(error: BaseException, most: int = 300) -> str:
    """What an error of a library says, on one line of at most `most` characters."""
    text = " ".join(str(error).split())
    return text[:most] + ("…" if len(text) > most else "")


def check_writable(folder: Path) -> None:
    """Make a folder where it is missing, and raise UserError where no file can be made in it: what
    long work ends in is tried before it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"nothing can be written in '{folder}' ({error.strerror}); name another folder"
        ) from error


def when_ended(act: Callable[[int, object], None]) -> None:
    """Have `act` called, as a signal handler, where a scheduler or a closed terminal ends us."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` has it ignored
            signal.signal(number, act)


def _check_docstrings() -> None:
    """Refuse a Python without docstrings: transformers makes others of them, and cannot load."""
    if sys.flags.optimize > 1:
        raise UserError(
            "Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2), which transformers needs:"
            " leave that out"
        )


def _first_try_alone() -> Callable[[logging.LogRecord], bool]:
    """A filter of what the Hub's client says, which is two lines for each of its tries."""
    told = os.environ.get("RANK", "0") != "0"

    def let_through(record: logging.LogRecord) -> bool:
        nonlocal told
        cause, failed, _ = record.getMessage().partition(" thrown while requesting")
        first = bool(failed) and not told
        if first:
            told = True
            cause = cause.strip("'")
            record.msg, record.args = f"the Hub does not answer ({cause}): trying again", ()
        return first or not (failed or cause.startswith("Retrying in"))

    return let_through


def _note_ctrl_c() -> list[int]:
    """The Ctrl-Cs from now on; each still raises KeyboardInterrupt."""
    pressed = []

    def interrupt(number: int, frame: object) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # `nohup` has it ignored
        signal.signal(signal.SIGINT, interrupt)
    return pressed


def _explain(error: BaseException) -> int | None:
    """Tell an error that is not this project's fault in a line; returns the exit status.

    None is returned, and nothing told, for any other.
    """
    if isinstance(error, UserError):
        _tell(str(error))
        return 2
    if isinstance(error, BrokenPipeError):
        # The reader of our output (`| head`) has gone; Python would complain again at exit.
        _let_go_of_output()
        return 0
    if isinstance(error, OSError) and error.filename and error.strerror:
        # No room, no right to write, a file where a folder should be: the disk is the user's.
        _tell(f"'{error.filename2 or error.filename}': {error.strerror}")
        return 2
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        _tell(f"what this makes could not be written: {error.strerror}")
        _let_go_of_output()
        return 2
    return None


def _let_go_of_output() -> None:
    """What still waits for standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(message: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        # Where the first process met it too, the launcher ends this one meanwhile.
        time.sleep(FIRST_SPEAKS_WITHIN)
    tqdm.write(f"error: {message}", file=sys.stderr)  # below a bar, not behind it

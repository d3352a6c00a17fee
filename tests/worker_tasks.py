"""What test tasks do in worker processes: answer, crash, hang, fail."""

import os
import signal
import time


def do(what: str, argument: int = 0) -> int:
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "fail":
        raise OSError(28, "No space left on device")
    return argument * argument

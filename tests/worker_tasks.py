"""What test tasks do in worker processes: answer, crash, hang, doze, fail, say what was loaded."""

import os
import signal
import sys
import time


def do(what: str, argument: int = 0) -> int:
    if what == "crash":
        time.sleep(argument)
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "doze":
        for _ in range(round(argument / 0.1)):  # a pause of the process comes on top
            time.sleep(0.1)
    if what == "fail":
        raise OSError(28, "No space left on device")
    if what == "loaded":
        return {"genreast.data.clips", "torchcodec.decoders", "transformers.audio_utils"} <= {
            *sys.modules
        }
    return argument * argument

"""`accelerate launch`, without its own traceback below the message of a script that has failed.

    python -m genreast.launch --config_file configs/accelerate/many_gpus.yaml train_hf.py …

It takes the same arguments, and ends with the script's exit status. What ends it ends the script.
"""

import logging
import signal
import subprocess
import sys

import psutil
import yaml
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from genreast.errors import one_line, when_ended


def main() -> None:
    """Launch what the command line says; a script that fails has said itself what is wrong."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # Without a config it tells at length which values it takes itself, none of them unexpected.
    logging.getLogger("accelerate.commands.launch").setLevel(logging.ERROR)
    when_ended(_pass_on)
    try:
        launch_command(launch_command_parser().parse_args())
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except KeyboardInterrupt:  # Ctrl-C reaches the script too, which tells of it
        sys.exit(128 + signal.SIGINT)
    except subprocess.CalledProcessError as error:
        statuses = [error.returncode]
    except ChildFailedError as error:
        found = [failure.exitcode for failure in error.failures.values()]
        # The launcher itself ends the others so, once one has failed.
        statuses = [status for status in found if status != -signal.SIGTERM] or found
    except (OSError, ValueError, RuntimeError, ImportError, yaml.YAMLError) as error:
        # Nothing was launched.
        print(f"error: accelerate cannot launch this: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    else:
        return
    killed = [-status for status in statuses if status < 0]
    if killed:  # the script could not say so; the others were only told to stop
        name = signal.Signals(killed[0]).name
        print(
            f"error: a process was ended by {name}; SIGKILL may be memory used up", file=sys.stderr
        )
    sys.exit(128 + killed[0] if killed else max(statuses))


def _pass_on(number: int, frame: object) -> None:
    """Hand a signal to the script, whose end is then this one's: accelerate waits for its only
    process and would leave it alone. Several it ends itself, with handlers of its own.
    """
    scripts = psutil.Process().children()
    for script in scripts:
        script.send_signal(number)
    if not scripts:
        sys.exit(128 + number)


if __name__ == "__main__":
    main()

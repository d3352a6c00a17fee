"""Run one function over many songs: on all cores of this machine, or on a Dask cluster.

A file can crash a decoder's C code or keep it busy for ever. Here that costs one song, not the run:
its worker is replaced, and the caller is told which task failed.
"""

import contextlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any

from genreast.allocator import keep_freed_memory
from genreast.errors import UserError

PATIENCE = 15  # seconds that a Dask scheduler may take to answer, and its first worker to come
LOOK = 1.0  # seconds between two looks at what runs
WORKERS_LOOK = 5.0  # and at whether a Dask cluster has workers


@dataclass(frozen=True)
class Task:
    """One call: its arguments, and the seconds it may take before it is given up."""

    arguments: tuple
    seconds: float


class Failed(str):
    """Why a task gave no result: its worker crashed, or it took too long."""


def by_name(function: str, *arguments: Any) -> Any:
    """Call a function that is named `module:function`. Who hands it out need not import it."""
    return pkgutil.resolve_name(function)(*arguments)


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_server() -> None:
    """Have a process import what workers need, from now on and beside the caller's own imports.

    Workers are forked from it, each in milliseconds. Calling this is never needed: `run_local`
    does it too.
    """
    if _context().get_start_method() != "forkserver":
        return
    if threading.current_thread() is not threading.main_thread():
        _ensure_running()
        return
    # Ctrl-C reaches all processes of a terminal: this one would end in a traceback of its imports.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def run_local(
    function: Callable, tasks: list[Task], num_workers: int
) -> Iterator[tuple[Task, Any]]:
    """Call `function(*task.arguments)` in worker processes; yields (task, result) as they finish.

    A task that crashes its worker or overruns its time yields `Failed`; exceptions are raised.
    """
    start_server()
    waiting, suspects = deque(tasks), deque()
    running: dict[Future, tuple[Task, float]] = {}  # each with the clock at its start
    clock = 0.0  # seconds that were waited here
    pool = _Pool(num_workers)
    try:
        while waiting or suspects or running:
            # After a crash the tasks that were running go alone: the next crash names its cause.
            alone = bool(suspects)
            while (suspects or waiting) and len(running) < (1 if alone else num_workers):
                task = suspects.popleft() if suspects else waiting.popleft()
                future = pool.submit(function, task)  # returns when the task's worker has started
                running[future] = (task, clock)
                if alone:
                    break
            done, seconds = _look(running)
            clock += seconds
            broken = [f for f in done if isinstance(f.exception(), BrokenProcessPool)]
            for future in done.difference(broken):
                yield running.pop(future)[0], future.result()
            if broken:
                victims = [task for task, _ in running.values()]
                if len(victims) == 1:
                    yield victims[0], Failed("the decoder crashed on it")
                else:
                    suspects.extend(victims)
            elif late := [f for f, (task, at) in running.items() if clock - at >= task.seconds]:
                for future in late:
                    task = running.pop(future)[0]
                    yield task, _too_late(task)
                waiting.extendleft(task for task, _ in running.values())
            else:
                continue
            running.clear()
            pool.kill()
            pool = _Pool(num_workers)
    finally:
        pool.kill()


def run_dask(function: Callable, tasks: list[Task], address: str) -> Iterator[tuple[Task, Any]]:
    """The same on a Dask cluster, whose scheduler and workers have genreast installed and see the
    same files under the same paths.

    Raises UserError when Dask is not installed, no scheduler or worker answers, or it is lost.
    """
    client = _dask_client(address)
    from distributed import KilledWorker, as_completed

    def submit(task: Task):
        return client.submit(_within, function, task, pure=False)

    def answer(future) -> Any:
        try:
            result = future.result()
        except (RuntimeError, ImportError) as error:
            raise UserError(
                f"the Dask cluster at '{address}' cannot run genreast ({error}): install it on"
                " the scheduler and every worker with `pip install .`"
            ) from error
        except CancelledError as error:
            raise UserError(
                f"the Dask scheduler at '{address}' was lost; start it again with its workers and"
                " give the same command, with its new address if it has one: it goes on from here"
            ) from error
        if isinstance(result, Failed):
            _end_overrun(client, future)
        future.release()
        return result

    with client, _told_of_no_worker(client, address):
        futures = {submit(task): task for task in tasks}
        suspects = []
        for future in as_completed(list(futures)):
            task = futures.pop(future)
            try:
                yield task, answer(future)
            except KilledWorker:
                suspects.append(task)
        # A worker that dies takes along what waits there: alone, a task can blame no other.
        for task in suspects:
            try:
                yield task, answer(submit(task))
            except KilledWorker:
                yield task, Failed("the decoder crashed on it")


def _dask_client(address: str) -> Any:
    """A connection to a Dask scheduler that has a worker."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("--dask needs Dask: pip install -e '.[dask]'") from error
    try:
        client = Client(address, timeout=PATIENCE)
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler with a worker answers at '{address}';"
            " expected the address that `dask scheduler` printed, such as tcp://10.0.0.1:8786"
        ) from error
    return client


@contextlib.contextmanager
def _told_of_no_worker(client, address: str) -> Iterator[None]:
    """Say where a cluster has lost its last worker: Dask waits for another without a word."""
    stop = threading.Event()

    def watch() -> None:
        told = False
        while not stop.wait(WORKERS_LOOK):
            try:
                gone = not client.nthreads()
            except Exception:  # the scheduler is lost: whoever waits for an answer is told
                return
            if gone and not told:
                print(
                    f"\nno Dask worker is left at '{address}': start one again, for this waits for"
                    " it, or stop and give the same command later: it goes on from here",
                    file=sys.stderr,
                )
            told = gone

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _within(function: Callable, task: Task) -> Any:
    """Call `function(*task.arguments)` on a Dask worker, which waits no longer than the task may
    take.
    """
    answer = Future()

    def call() -> None:
        try:
            answer.set_result(function(*task.arguments))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=call, name="genreast call", daemon=True).start()
    waited = 0.0
    while waited < task.seconds:
        done, seconds = _look([answer])
        if done:
            return answer.result()
        waited += seconds
    return _too_late(task)


def _end_overrun(client, future) -> None:
    """Restart the Dask worker that has given a call up, for the call itself still runs there."""
    workers = [worker for those in client.who_has([future]).values() for worker in those]
    future.release()  # else the scheduler would have the lost answer computed again
    with contextlib.suppress(ValueError):  # a worker without a nanny keeps the call
        client.restart_workers(workers, raise_for_error=False)


class _Pool:
    """A process pool that can be killed at once."""

    def __init__(self, num_workers: int):
        self.others = set(multiprocessing.active_children())
        self.pool = ProcessPoolExecutor(
            num_workers, mp_context=_context(), initializer=_start_worker
        )

    def submit(self, function: Callable, task: Task) -> Future:
        with _ctrl_c_waits():  # a worker that is being started would be missed by `kill`
            return self.pool.submit(function, *task.arguments)

    def kill(self) -> None:
        """End the workers, whatever they are doing."""
        for process in set(multiprocessing.active_children()) - self.others:
            process.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Let Ctrl-C be felt after the block, not within it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def _ensure_running() -> None:
    """Start the server of `start_server` where it does not run yet, with this process's `sys.path`.

    CPython before 3.12.8 leaves it without (issue 117378): it found genreast in the folder of the
    project alone, and started from any other each worker imported all anew.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _context() -> multiprocessing.context.BaseContext:
    """Workers are forked from a clean process, which threads of the caller cannot have broken."""
    context = multiprocessing.get_context(
        "forkserver" if hasattr(os, "fork") else "spawn"  # Windows has no forkserver
    )
    context.set_forkserver_preload(["genreast.data.preloaded"])
    return context


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, even if it was killed."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _look(futures: Iterable[Future]) -> tuple[set[Future], float]:
    """Which are done, waiting `LOOK` seconds for the first, and the seconds waited.

    More than `LOOK` have passed where this process was paused (Ctrl-Z, a suspended job), and those
    that it waits for with it: they are not counted.
    """
    start = time.monotonic()
    done, _ = wait(futures, timeout=LOOK, return_when=FIRST_COMPLETED)
    return done, min(time.monotonic() - start, LOOK)


def _too_late(task: Task) -> Failed:
    return Failed(f"decoding took more than {task.seconds:.0f} s")

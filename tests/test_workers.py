"""Workers: every task is answered, a crash or a hang costs one task, Dask gives the same."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from conftest import ROOT
from song_library import contents, make_library, prepare
from worker_tasks import do

from genreast.arguments import PrepareArguments
from genreast.data import workers
from genreast.data.songs import find_files
from genreast.data.work_folder import WorkFolder
from genreast.data.workers import Failed, Task, run_dask, run_local
from genreast.errors import UserError


def check_a_crash_and_a_hang_cost_one_task_each(run: Callable):
    tasks = [Task(("square", n), 60) for n in range(12)]
    tasks[3:3] = [Task(("crash",), 60)]
    tasks[7:7] = [Task(("hang",), 3)]
    results = {task.arguments: result for task, result in run(do, tasks)}
    assert results.pop(("crash",)) == Failed("the decoder crashed on it")
    assert results.pop(("hang",)) == Failed("decoding took more than 3 s")
    assert results == {("square", n): n * n for n in range(12)}


def test_a_crash_and_a_hang_cost_one_task_each():
    check_a_crash_and_a_hang_cost_one_task_each(partial(run_local, num_workers=2))


def test_a_late_crash_is_no_other_task_s(monkeypatch):
    """Those that it takes along are longer than it: together they would be taken along for ever."""
    pools = []

    class Pool(workers._Pool):
        def __init__(self, num_workers: int):
            pools.append(self)
            assert len(pools) < 6
            super().__init__(num_workers)

    monkeypatch.setattr(workers, "_Pool", Pool)
    tasks = [Task(("doze", 0.8), 60), Task(("crash", 0.3), 60), Task(("doze", 0.9), 60)]
    results = {task.arguments: result for task, result in run_local(do, tasks, num_workers=3)}
    assert results.pop(("crash", 0.3)) == Failed("the decoder crashed on it")
    assert results == {("doze", 0.8): 0.8**2, ("doze", 0.9): 0.9**2}


RUN_ELSEWHERE = f"""
import sys
sys.path[:0] = {[str(ROOT), str(ROOT / "tests")]}
from genreast.data.workers import Task, run_local
from worker_tasks import do
for _, result in run_local(do, [Task(("loaded",), 60), Task(("doze", 0.6), 2.5)], 1):
    print(result, flush=True)
"""


def test_a_run_may_start_in_any_folder_and_be_paused(tmp_path):
    """From all folders but the project's own each worker imported torch anew. Ctrl-Z, then `fg`,
    counted as the time of what was decoded: sound songs were 'unreadable'."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_ELSEWHERE],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        start_new_session=True,
    )
    assert process.stdout.readline() == "True\n"
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(2.5)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "0.36\n"


def test_the_start_of_a_worker_is_not_its_task_s_time(monkeypatch):
    """Libraries on a slow disk took longer than a song may: sound songs were 'unreadable'."""
    start = ForkServerProcess.start

    def start_slowly(process: ForkServerProcess) -> None:
        time.sleep(1.5)
        start(process)

    monkeypatch.setattr(ForkServerProcess, "start", start_slowly)
    [(_, answer)] = run_local(do, [Task(("doze", 1.5), 2.5)], num_workers=1)
    assert answer == 1.5**2


def test_other_errors_are_raised():
    with pytest.raises(OSError, match="No space left"):
        list(run_local(do, [Task(("fail",), 60)], num_workers=2))


@pytest.mark.parametrize("moment", [0.7, 2.0, "cutting songs"])
def test_ctrl_c_is_one_word(raw, tmp_path, moment):
    """A terminal sends it to all processes of the command: as they load, or with workers busy."""
    command = [sys.executable, "prepare_dataset.py", raw, "--output_dir", tmp_path / "dataset"]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    told = ""
    if moment == "cutting songs":
        while moment not in told:
            told += os.read(process.stderr.fileno(), 1_000).decode(errors="replace")
            assert process.poll() is None, told
    time.sleep(moment if isinstance(moment, float) else 0.1)
    os.killpg(process.pid, signal.SIGINT)
    told += process.communicate(timeout=60)[1]
    assert "Traceback" not in told
    assert process.returncode in (0, 130)  # it may have been quick
    if process.returncode:
        assert told.splitlines()[-1] == "stopped"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("raw"), {"0_a": 4, "1_b": 4}, seconds=(1, 3))


def test_a_full_disk_is_said_and_the_next_run_goes_on(raw, tmp_path):
    output = tmp_path / "dataset"
    with WorkFolder(PrepareArguments(str(raw), str(output))) as work:
        work.open()
        last = min(find_files(raw), key=lambda song: (raw / song.path).stat().st_size)
        full = work.songs / f"{last.song_id}.json.part"
        full.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"no space left for .*it goes on from here"):
        prepare(raw, "--output_dir", output)
    assert not output.exists()
    finished = {path: path.stat().st_mtime_ns for path in work.songs.glob("*.json")}
    assert not full.is_symlink(), "the part went, and with it what filled the disk"
    assert prepare(raw, "--output_dir", output) == 0
    assert finished and not work.path.exists()
    whole = tmp_path / "other" / "dataset"
    prepare(raw, "--output_dir", whole)
    assert contents(whole) == contents(output)


def test_finished_songs_are_not_cut_again(raw, tmp_path, monkeypatch):
    output = tmp_path / "dataset"
    monkeypatch.setattr("genreast.data.steps.write_dataset", lambda *arguments: sys.exit("stopped"))
    with pytest.raises(SystemExit):
        prepare(raw, "--output_dir", output)
    records = sorted((tmp_path / "dataset.work" / "songs").glob("*.json"))
    times = [path.stat().st_mtime_ns for path in records]
    with pytest.raises(SystemExit):
        prepare(raw, "--output_dir", output)
    assert len(records) == 8
    assert [path.stat().st_mtime_ns for path in records] == times


def test_the_process_that_hands_songs_out_loads_no_torch():
    program = (
        "import sys, genreast.data.steps, genreast.data.selection; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_two_runs_never_work_on_one_output(raw, tmp_path):
    first = WorkFolder(PrepareArguments(str(raw), str(tmp_path / "dataset")))
    with first, pytest.raises(UserError, match="another run is at work"):
        prepare(raw, "--output_dir", tmp_path / "dataset")


DASK = [str(Path(sys.executable).with_name("dask"))]
LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard"]
FOR_DASK = os.environ | {
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
}


@contextlib.contextmanager
def ending(process: subprocess.Popen):
    """A process that is ended after the block."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # a worker that is being replaced may not listen
            process.kill()
            process.wait()


def dask_worker(address: str, *flags: str):
    """A Dask worker for the block, started with Dask's own command."""
    command = [*DASK, "worker", address, "--nthreads", "1", *LOOPBACK, *flags]
    return ending(subprocess.Popen(command, stderr=subprocess.DEVNULL, env=FOR_DASK))


@contextlib.contextmanager
def dask_scheduler():
    """The address of a Dask scheduler that runs for the block."""
    pytest.importorskip("distributed", reason="Dask is an optional requirement")
    command = [*DASK, "scheduler", "--port", "0", *LOOPBACK]
    with ending(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=FOR_DASK)) as one:
        yield next(match[0] for line in one.stderr if (match := re.search(r"tcp://[\d.:]+", line)))


@pytest.fixture(scope="module")
def cluster():
    """A Dask scheduler and two workers.

    A task whose worker dies is not tried again by Dask, which by default has it kill four in turn.
    """
    with dask_scheduler() as address, dask_worker(address), dask_worker(address):
        yield address


def test_a_dask_cluster_gives_the_same_bytes(cluster, raw, tmp_path):
    prepare(raw, "--output_dir", tmp_path / "local" / "dataset")
    prepare(raw, "--output_dir", tmp_path / "dask" / "dataset", "--dask", cluster)
    assert contents(tmp_path / "local") == contents(tmp_path / "dask")


def calls_at_work() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "genreast" in thread.name]


def test_a_crash_and_a_hang_cost_a_dask_cluster_one_task_each(cluster):
    from distributed import Client

    check_a_crash_and_a_hang_cost_one_task_each(partial(run_dask, address=cluster))
    with Client(cluster) as client:  # and nothing hangs there still
        assert not any(client.run(calls_at_work).values())
    with pytest.raises(OSError, match="No space left"):
        list(run_dask(do, [Task(("fail",), 60)], cluster))


def test_a_call_that_the_scheduler_has_lost_is_said(cluster):
    """As all are when the scheduler itself is, which Dask takes many seconds to see."""
    from distributed import Client, Future

    results = run_dask(do, [Task(("answer", 1), 60), Task(("doze", 5), 60)], cluster)
    next(results)
    with Client(cluster) as client:
        keys = client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.tasks])
        client.cancel([Future(key, client) for key in keys], force=True)
    with pytest.raises(UserError, match=r"scheduler at 'tcp.* was lost; start it again"):
        next(results)


def test_a_cluster_without_workers_is_told_of_and_waited_for(capfd, monkeypatch):
    monkeypatch.setattr(workers, "WORKERS_LOOK", 0.5)
    tasks = [Task(("square", 3), 60), Task(("doze", 2), 60), Task(("square", 4), 60)]
    answers, said, asked = [], "", "no Dask worker is left at 'tcp://"

    def run(address: str) -> None:
        for _, result in run_dask(do, tasks, address):
            answers.append(result)

    with dask_scheduler() as address, ThreadPoolExecutor() as pool:
        with dask_worker(address, "--no-nanny") as worker:
            done = pool.submit(run, address)
            while not answers:
                time.sleep(0.05)
            worker.kill()
        while asked not in said and not done.done():
            time.sleep(0.1)
            said += capfd.readouterr().err
        time.sleep(1)
        with dask_worker(address):
            done.result(timeout=60)
        said += capfd.readouterr().err
    assert sorted(answers) == [4, 9, 16]
    assert said.count(asked) == 1


def test_a_missing_cluster_is_said(raw, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="Dask is an optional requirement")
    monkeypatch.setattr("genreast.data.workers.PATIENCE", 1)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"no Dask scheduler .* answers at 'tcp://127\.0\.0\.1:9'"):
        prepare(raw, "--output_dir", tmp_path / "dataset", "--dask", "tcp://127.0.0.1:9")
    assert time.monotonic() - start < 20
    assert list(tmp_path.iterdir()) == []


def test_with_nothing_left_to_cut_no_cluster_is_asked_for(raw, tmp_path):
    prepare(raw, "--output_dir", tmp_path / "dataset")
    asked = ["--clips_from", tmp_path / "dataset", "--dask", "tcp://127.0.0.1:9"]  # nobody there
    prepare(raw, "--output_dir", tmp_path / "other" / "dataset", *asked)
    assert contents(tmp_path / "other" / "dataset") == contents(tmp_path / "dataset")

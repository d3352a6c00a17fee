"""What a launcher or a scheduler left in the environment hangs no run and ends in no traceback."""

import os
import socket
import subprocess
import sys
from textwrap import dedent

import pytest
from conftest import ROOT

PROGRAM = """
    from genreast.training import rendezvous
    from genreast.errors import run
    from genreast.training.recipe import TrainArguments

    rendezvous.PATIENCE = 0.5
    run(lambda: TrainArguments(use_cpu=True) and None)
"""
LAUNCHED = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}


def start(**variables: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", dedent(PROGRAM)],
        cwd=ROOT,
        env=os.environ | variables,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_who_waits_in_vain_for_other_processes_says_so():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    process = start(**LAUNCHED, MASTER_PORT=port)
    try:
        assert process.stderr.readline() == (
            "waiting for the other processes of this run; to train in one process, unset"
            " WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT\n"
        )
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (LAUNCHED | {"WORLD_SIZE": "1"}, "address already in use; to train in one process, unset"),
        ({"PMI_SIZE": "4"}, "MASTER_ADDR, the first one's host, is not set; to train in one proce"),
    ],
    ids=["port", "scheduler"],
)
def test_what_keeps_processes_from_meeting_is_told_with_the_remedy(variables, told):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(**variables, **({"MASTER_PORT": port} if "RANK" in variables else {}))
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 2, errors
    assert errors.startswith("error: the processes of this run cannot meet: ") and told in errors

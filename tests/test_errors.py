"""Ctrl-C is one word and status 130, whatever it falls into; what cannot be written is told."""

import os
import signal
import subprocess
import sys
from textwrap import dedent

import pytest
from conftest import ROOT

from genreast.errors import UserError, check_writable


def script(what_sleeps: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        dedent("""\
            import time
            from genreast.errors import run

            def main():
                print("ready", flush=True)
            {body}

            run(main)
            """).format(body="\n".join(f"    {line}" for line in what_sleeps.splitlines())),
    ]


def ended(words: list[str], **environment: str) -> subprocess.CompletedProcess:
    """A command that has ended, with some variables of its own."""
    environment = os.environ | environment
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)


SWALLOWED = "try:\n    time.sleep(30)\nexcept BaseException:\n    raise KeyError('version')"


@pytest.mark.parametrize("what_sleeps", ["time.sleep(30)", SWALLOWED])
def test_ctrl_c_is_one_word(what_sleeps):
    process = subprocess.Popen(
        script(what_sleeps),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job started in the background hands down that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "stopped\n")
    assert process.returncode == 130


def test_where_ctrl_c_is_ignored_it_stays_ignored():
    """As under nohup, or for a job that a script started in the background."""
    body = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('done')"
    done = subprocess.run(
        script(body),
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\ndone\n", "")


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"nothing can be written in '.*/file/x' .Not a directory"):
        check_writable(tmp_path / "file" / "x")


@pytest.mark.parametrize(
    ("redirection", "status", "told"),
    [
        (">&-", 0, ""),
        ("| head -c 1", 0, ""),
        ("> /dev/full", 2, "what this makes could not be written: No space left on device"),
    ],
)
def test_output_that_goes_nowhere_ends_in_no_traceback(redirection, status, told):
    if redirection.endswith("full") and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    command = ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "bash"]
    words = script("for _ in range(9): print('x' * 100_000)")
    done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert done.stderr == (f"error: {told}\n" if told else "")


def test_what_the_terminal_cannot_show_is_written_out():
    done = ended(script("print('演歌')"), PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, "ready\n\\u6f14\\u6b4c\n"), done.stderr


def test_pictures_are_drawn_by_a_command_of_a_notebook_too():
    words = script("from matplotlib.figure import Figure\nprint('done')")
    done = ended(words, MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert (done.returncode, done.stdout) == (0, "ready\ndone\n"), done.stderr


def test_a_python_without_docstrings_is_refused():
    done = ended(script("print('done')"), PYTHONOPTIMIZE="2")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2")


def test_a_fault_of_our_own_keeps_its_traceback():
    done = subprocess.run(script("{}['version']"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and "KeyError: 'version'" in done.stderr


def test_a_hub_that_does_not_answer_is_told_of_once():
    program = """
        import httpx2
        from huggingface_hub.utils import http_backoff
        from genreast.errors import run

        def main():
            for name in ("config.json", "model.safetensors"):
                try:
                    url = f"http://127.0.0.1:9/{name}"  # where nobody listens
                    http_backoff("HEAD", url, max_retries=2, base_wait_time=0.01)
                except httpx2.ConnectError:
                    pass

        run(main)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("the Hub does not answer (") and line.endswith("): trying again")

"""Progress is lively on a terminal, and takes little of a log."""

import contextlib
import os
import subprocess
import sys
import termios

import pytest
from conftest import ROOT

PROGRAM = """
import time
from genreast.bars import bar

for _ in bar(range(100)):
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("terminal", "least", "most"), [(False, 1, 3), (True, 5, 20)])
def test_how_often_a_bar_is_drawn(terminal, least, most):
    shown, written = os.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(written, (24, 80))
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, stderr=written, check=True)
    os.close(written)
    with open(shown, "rb", buffering=0) as states, contextlib.suppress(OSError):
        text = b""
        while part := states.read(10_000):  # a terminal that is closed is an error, not an end
            text += part
    text = text.decode()
    assert "100/100" in text and least <= text.count("/100 ") <= most

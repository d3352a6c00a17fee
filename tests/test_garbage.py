"""Garbage is looked for among what the work makes, and no more at the end."""

import subprocess
import sys
from textwrap import dedent

from conftest import ROOT

PROGRAM = """
    import gc, weakref
    from genreast.errors import run
    from genreast.garbage import resume_collection

    class Node:
        def __init__(self):
            self.itself = self

        def __del__(self):
            print("found", self.name)

    def new(name):
        node = Node()
        node.name = name
        return node

    def main():
        libraries = new("what was loaded")
        resume_collection()
        new("garbage of the work")
        made = [[] for _ in range(2000)]
        global last
        last = new("what lives at the end")

    run(main)
"""


def test_only_garbage_of_the_work_is_found():
    words = [sys.executable, "-c", dedent(PROGRAM)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "found garbage of the work\n"

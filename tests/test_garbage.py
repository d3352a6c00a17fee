"""Garbage is looked for among what the work makes, and no more at the end."""

import subprocess
import sys
from textwrap import dedent

from conftest import ROOT

PROGRAM = """
    import os
    from genreast.errors import run
    from genreast.garbage import resume_collection

    class Node:
        def __init__(self):
            self.itself = self

        def __del__(self, write=os.write):  # which print cannot do at the very end
            write(1, f"found {self.name}\\n".encode())

    def new(name):
        node = Node()
        node.name = name
        return node

    def main():
        libraries = new("what was loaded")
        resume_collection()
        del libraries
        new("garbage of the work")
        made = [[] for _ in range(2000)]
        new("garbage at the end")

    run(main)
"""


def test_only_garbage_of_the_work_is_found():
    words = [sys.executable, "-c", dedent(PROGRAM)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "found garbage of the work\n"

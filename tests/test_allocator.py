"""Freed memory stays with the process that asks for it, and the next tensor takes it again."""

import subprocess
import sys

import pytest
from conftest import ROOT

GROWTH = """
import sys
import psutil, torch
from genreast.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
process = psutil.Process()
tensors = [torch.ones(1_000_000) for _ in range(2)]  # of 4 MB
before = process.memory_info().rss
tensors += [torch.ones(1_000_000) for _ in range(50)]
full = process.memory_info().rss
del tensors
freed = process.memory_info().rss
tensors = [torch.ones(1_000_000) for _ in range(50)]
print(full - before, freed - before, process.memory_info().rss - full)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_tensors_stay_and_are_used_again():
    rests = {}
    for way in ("kept", "given back"):
        words = [sys.executable, "-c", GROWTH, way]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        full, rests[way], again = map(int, done.stdout.split())
        assert full > 190_000_000 and again < 20_000_000, "used again, not added"
    assert rests["kept"] > 150_000_000 > 50_000_000 > rests["given back"]

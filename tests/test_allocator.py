"""Freed memory stays with the process that asks for it, and the next batch takes it again."""

import subprocess
import sys

import pytest
from conftest import ROOT

BATCHES = """
import sys
import psutil, torch
from genreast.allocator import keep_freed_memory

def resident():
    return psutil.Process().memory_info().rss

def batch():
    return [torch.ones(1_000_000) for _ in range(50)]  # 4 MB each

if sys.argv[1] == "kept":
    keep_freed_memory()
before = resident()
tensors = batch()
full = resident() - before
del tensors
freed = resident() - before
for _ in range(10):
    batch()
print(full, freed, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_stays_and_the_next_batch_takes_it_again():
    share_left, share_after_ten = {}, {}
    for way in ("kept", "given back"):
        words = [sys.executable, "-c", BATCHES, way]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        full, freed, after_ten = map(int, done.stdout.split())
        share_left[way], share_after_ten[way] = freed / full, after_ten / full
    assert share_left["kept"] > 0.7 > 0.3 > share_left["given back"]
    assert share_after_ten["kept"] < 2, "ten more batches took ten times the memory"

"""Freed memory stays with the process that asks for it, the next batch takes it again, and what
decoding leaves in pieces is given back.
"""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
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


DECODING = """
import sys
import psutil, torch
from genreast.allocator import keep_freed_memory
from genreast.audio import load_audio

keep_freed_memory()
load_audio(sys.argv[1])  # the decoder's own libraries, larger where torch is built for a GPU
tensors = [torch.ones(25_000) for _ in range(2_000)]  # 0.1 MB each
del tensors[::2]  # as work leaves memory: in pieces, none of which holds a clip
before = psutil.Process().memory_info().rss
for _ in range(150):
    load_audio(sys.argv[1])
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_decoding_gives_back_what_was_left_in_pieces(tmp_path):
    """Else a process grew by two thirds of a megabyte a clip: training on 10,000 of them ended
    where memory did.
    """
    clip = tmp_path / "clip.flac"
    soundfile.write(clip, np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    words = [sys.executable, "-c", DECODING, clip]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < -65e6, "of the 100 MB that lay in pieces"

"""The original GenreAST's way to prepare clips, as its peers still do it: one process, one song
after the other, librosa at the native rate, SciPy's polyphase resampling, FLAC clips of 10 s.

Written from a description of its behaviour; none of its code is used.
"""

from math import gcd
from pathlib import Path

import librosa
import soundfile
from scipy.signal import resample_poly

RATE = 16_000
CLIP = 10 * RATE


def prepare(songs: list[Path], output: Path) -> int:
    """Cut every song into 10 s clips under `output`; a short one gives one. Returns the clips."""
    clips = 0
    for number, song in enumerate(songs):
        samples, rate = librosa.load(song, sr=None, mono=True)
        divisor = gcd(rate, RATE)
        samples = resample_poly(samples, RATE // divisor, rate // divisor)
        folder = output / song.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, max(len(samples) - CLIP, 0) + 1, CLIP):
            path = folder / f"{number}_{start}.flac"
            soundfile.write(path, samples[start : start + CLIP], RATE, subtype="PCM_16")
            clips += 1
    return clips

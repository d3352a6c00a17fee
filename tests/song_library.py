"""Small made libraries of songs to prepare: every song its own melody and rhythm."""

import sys
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def melody(seed: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """A random tune with a beat, float64 (samples,): no two seeds sound alike."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    notes = 220 * 2 ** (random.integers(0, 24, int(seconds / 0.2) + 1) / 12)
    frequency = notes[(time / 0.2).astype(int)]
    phase = np.cumsum(frequency) / rate
    tone = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 6))
    beat = random.standard_normal(len(time)) * np.exp(-((time % random.uniform(0.3, 0.7)) * 20))
    return 0.15 * tone + 0.1 * beat


def make_library(
    root: Path, genres: dict[str, int], seconds=(4.0, 12.0), suffixes=("wav", "flac", "ogg", "mp3")
) -> Path:
    """Write `genres[name]` songs into each genre's folder, two folders deep, in several formats."""
    seed = 0
    for genre, count in genres.items():
        for number in range(count):
            seed += 1
            length = seconds[0] + (seconds[1] - seconds[0]) * (number / max(count - 1, 1))
            suffix = suffixes[number % len(suffixes)]
            path = root / genre / f"artist {number % 4}" / f"Song {number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, melody(seed, length), RATE)
    return root


def prepare(*arguments) -> int:
    """Run `prepare_dataset.py` in this process; returns its exit status."""
    import prepare_dataset

    before = sys.argv
    sys.argv = ["prepare_dataset.py", *map(str, arguments)]
    try:
        return prepare_dataset.main()
    finally:
        sys.argv = before


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

"""Songs to measure on, each different from all others."""

import subprocess
from pathlib import Path

import numpy as np


def make_song(path: Path, seconds: float, seed: int) -> str:
    """Noise under a chain of tones, 44.1 kHz stereo, coded by FFmpeg as the suffix says."""
    generator = np.random.default_rng(seed)
    notes = np.repeat(generator.uniform(100, 2000, int(seconds * 4) + 1), 11_025)
    tone = np.sin(np.cumsum(2 * np.pi * notes / 44_100))[: int(seconds * 44_100), None]
    sound = 0.3 * tone + generator.normal(0, 0.05, (len(tone), 2))
    command = ["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", "44100", "-ac", "2"]
    command += ["-i", "pipe:0", *(["-b:a", "192k"] if path.suffix == ".mp3" else []), str(path)]
    subprocess.run(command, input=sound.astype("<f4").tobytes(), check=True)
    return str(path)

"""An audiofolder of made clips: a tone and noise each, for measuring speed."""

from pathlib import Path

import numpy as np
import soundfile
from datasets import Dataset, Features, Value

from genreast.audio import SAMPLING_RATE
from genreast.data.columns import clip_columns

GENRES = ["low", "middle", "high", "higher"]
FEATURES = Features({"file_name": Value("string"), **clip_columns(GENRES)})


def make_dataset(folder: Path, clips: int, seconds: float = 10.0) -> Path:
    """`clips` FLAC files of `seconds` in a train split, as `prepare_dataset.py` writes them."""
    split = folder / "train"
    split.mkdir(parents=True)
    generator = np.random.default_rng(0)
    time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    rows = []
    for number in range(clips):
        label = number % 4
        pitch = 200 * 2.2**label * generator.uniform(0.9, 1.1)
        sound = 0.3 * np.sin(2 * np.pi * pitch * time) + generator.normal(0, 0.05, len(time))
        soundfile.write(split / f"{number}.flac", sound, SAMPLING_RATE)
        name = f"song {number}"
        rows.append((f"{number}.flac", label, name, name, 0.0))
    columns = dict(zip(FEATURES, map(list, zip(*rows, strict=True)), strict=True))
    Dataset.from_dict(columns, features=FEATURES).to_parquet(split / "metadata.parquet")
    return folder

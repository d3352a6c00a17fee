"""The openly licensed recordings as datasets: one split by a seed, one by its published folds."""

import csv
import subprocess
import sys
from pathlib import Path

import soundfile
import torch
from datasets import ClassLabel, Dataset, Features, Value

from benchmarks.measure import ROOT
from genreast.audio import SAMPLING_RATE, load_audio
from genreast.feature_stats import FeatureStats
from genreast.features import log_mel

FOLDS = (1, 2, 3, 4, 5)
TEST_FRACTION = 0.25


def waivops(audio: Path, folder: Path, seed: int) -> tuple[Path, dict]:
    """`prepare_dataset.py` over waivops_mini, and the size of what it wrote."""
    words = [sys.executable, "prepare_dataset.py", str(audio / "waivops_mini")]
    words += ["--output_dir", str(folder), "--seed", str(seed)]
    words += ["--test_fraction", str(TEST_FRACTION)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    with open(folder / "songs.csv", newline="", encoding="utf-8") as file:
        songs = [row for row in csv.DictReader(file) if row["status"] == "used"]
    return folder, {
        "songs": len(songs),
        "clips": sum(int(song["clips"]) for song in songs),
        "seconds_of_audio": round(sum(float(song["seconds"]) for song in songs)),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }


def esc10_fold(audio: Path, folder: Path, fold: int) -> Path:
    """esc10_mini with one published fold as its test split; no Freesound source straddles folds."""
    with open(audio / "ATTRIBUTION.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith("esc10_mini/")]
    names = sorted({row["class"] for row in rows})
    stats = FeatureStats()
    for split in ("train", "test"):
        part = [row for row in rows if (int(row["fold"]) == fold) == (split == "test")]
        (folder / split).mkdir(parents=True)
        columns = {"file_name": [], "label": [], "song_id": [], "group": [], "start": []}
        for row in part:
            waveform = load_audio(audio / row["path"])
            name = Path(row["path"]).with_suffix(".flac").name
            soundfile.write(folder / split / name, waveform, SAMPLING_RATE)
            if split == "train":
                stats.add(log_mel(torch.from_numpy(waveform)[None])[0])
            values = (name, names.index(row["class"]), Path(name).stem, row["group"], 0.0)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
        table = Dataset.from_dict(columns, features=clip_features(names))
        table.to_parquet(folder / split / "metadata.parquet")
    stats.save(folder)
    return folder


def clip_features(names: list[str]) -> Features:
    """The columns of metadata.parquet."""
    text = Value("string")
    return Features(
        {
            "file_name": text,
            "label": ClassLabel(names=names),
            "song_id": text,
            "group": text,
            "start": Value("float64"),
        }
    )

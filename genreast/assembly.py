"""Put cut songs together into a dataset: built aside, then renamed, so it is whole or not there."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Value

from genreast.audio import SAMPLING_RATE
from genreast.audiofolder import METADATA_FILE, SPLITS, clip_columns
from genreast.clips import SongRecord, clip_name
from genreast.features import FeatureStats
from genreast.song_table import SongRow
from genreast.songs import genre_folders


def place_clips(
    rows: list[SongRow],
    records: dict[str, SongRecord],
    genres: list[str],
    clips: Path,
    folder: Path,
) -> None:
    """Link every clip to its place under `folder` and write each split's metadata."""
    folders = genre_folders(genres)
    for split in SPLITS:
        table = []
        for row in rows:
            if row.split != split:
                continue
            label = genres.index(row.genre)
            (folder / split / folders[label]).mkdir(parents=True, exist_ok=True)
            for start in records[row.song_id].starts:
                name = clip_name(row.song_id, start)
                target = f"{folders[label]}/{name}"
                _link(clips / row.song_id / name, folder / split / target)
                table.append((target, label, row.song_id, row.group, start / SAMPLING_RATE))
        if table:
            _write_metadata(table, genres, folder / split)


def train_stats(rows: list[SongRow], records: dict[str, SongRecord]) -> FeatureStats:
    """Statistics over the train split, its songs' merged in the order of their paths."""
    stats = FeatureStats()
    for row in rows:
        if row.split == "train":
            stats.merge(FeatureStats(**records[row.song_id].stats))
    return stats


def publish(aside: Path, output_dir: Path) -> None:
    """Give a finished dataset its name; one that stood there goes only once the new one stands."""
    if output_dir.exists():
        old = output_dir.with_name(output_dir.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(output_dir, old)
        os.rename(aside, output_dir)
        shutil.rmtree(old)
    else:
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        os.rename(aside, output_dir)


def _write_metadata(table: list[tuple], genres: list[str], folder: Path) -> None:
    features = Features({"file_name": Value("string"), **clip_columns(genres)})
    schema = features.arrow_schema
    columns = [
        pa.array(values, type)
        for values, type in zip(zip(*table, strict=True), schema.types, strict=True)
    ]
    pq.write_table(pa.table(columns, schema=schema), folder / METADATA_FILE)


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

"""Put cut songs together into a dataset, and read it back to see that no split leaks."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Audio, Features, Value

from genreast.audio import SAMPLING_RATE
from genreast.audiofolder import METADATA_FILE, SPLITS, clip_columns
from genreast.clips import SongRecord, clip_name
from genreast.features import FeatureStats
from genreast.song_table import SongRow, read_songs
from genreast.songs import genre_folders

SHARD_BYTES = 400_000_000
ROWS_A_GROUP = 100  # clips read at once from a shard: about 20 MB


def clip_rows(
    rows: list[SongRow], records: dict[str, SongRecord], genres: list[str], split: str
) -> list[dict]:
    """One split's clips, song by song: where each goes, its label, song, group and start."""
    folders = genre_folders(genres)
    return [
        {
            "file_name": f"{folders[genres.index(row.genre)]}/{clip_name(row.song_id, start)}",
            "label": genres.index(row.genre),
            "song_id": row.song_id,
            "group": row.group,
            "start": start / SAMPLING_RATE,
        }
        for row in rows
        if row.split == split
        for start in records[row.song_id].starts
    ]


def write_files(table: list[dict], genres: list[str], clips: Path, folder: Path) -> None:
    """Link every clip of a split to its place under `folder`, and write `metadata.parquet`."""
    for row in table:
        target = folder / row["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(clips / row["song_id"] / target.name, target)
    features = Features({"file_name": Value("string"), **clip_columns(genres)})
    schema = features.arrow_schema
    pq.write_table(pa.Table.from_pylist(table, schema=schema), folder / METADATA_FILE)


def write_shards(
    table: list[dict], genres: list[str], clips: Path, folder: Path, split: str
) -> None:
    """Write a split as Parquet shards that hold the clips' FLAC bytes, 100 clips at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    features = Features({"audio": Audio(sampling_rate=SAMPLING_RATE), **clip_columns(genres)})
    schema = features.arrow_schema
    # Songs in the order of the hash that ends their ids: read one after the other, as streaming
    # does, the genres come mixed.
    table = sorted(table, key=lambda row: row["song_id"].rsplit("-", 1)[-1])
    shards = list(_shards(table, clips))
    for number, rows in enumerate(shards):
        name = f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
        with pq.ParquetWriter(folder / name, schema) as writer:
            for at in range(0, len(rows), ROWS_A_GROUP):
                part = [_with_sound(row, clips) for row in rows[at : at + ROWS_A_GROUP]]
                writer.write_table(pa.Table.from_pylist(part, schema=schema))


def train_stats(rows: list[SongRow], records: dict[str, SongRecord]) -> FeatureStats:
    """Statistics over the train split, its songs' merged in the order of their paths."""
    stats = FeatureStats()
    for row in rows:
        if row.split == "train":
            stats.merge(FeatureStats(**records[row.song_id].stats))
    return stats


def check(folder: Path, recordings: bool = True) -> None:
    """Read a written dataset back: every clip there, and no song, group or recording in two splits.

    `recordings` is False where equal ones were not to be looked for.

    Raises RuntimeError, for it would be a fault of this program.
    """
    splits_of = defaultdict(set)
    clips = 0
    for split in SPLITS:
        shards = sorted((folder / "data").glob(f"{split}-*.parquet"))
        for path in shards or [folder / split / METADATA_FILE]:
            if not path.exists():
                continue
            columns = ["song_id", "group"] if shards else ["song_id", "group", "file_name"]
            table = pq.read_table(path, columns=columns)
            clips += len(table)
            for kind in ("song_id", "group"):
                for value in table[kind].unique().to_pylist():
                    splits_of[kind, value].add(split)
            for name in [] if shards else table["file_name"].to_pylist():
                if (path.parent / name).stat().st_size == 0:
                    raise RuntimeError(f"clip '{path.parent / name}' is empty")
    rows = read_songs(folder)
    for row in rows:
        if row["split"] and recordings:
            splits_of["recording", row["recording"]].add(row["split"])
    leaks = [key for key, splits in splits_of.items() if len(splits) > 1 and key[1]]
    if leaks:
        raise RuntimeError(f"{leaks[0][0]} '{leaks[0][1]}' stands in more than one split")
    expected = sum(int(row["clips"]) for row in rows if row["split"])
    if clips != expected:
        raise RuntimeError(f"{clips} clips written, {expected} listed in songs.csv")


def _shards(table: list[dict], clips: Path) -> Iterator[list[dict]]:
    """The rows in pieces whose sound stays below `SHARD_BYTES`."""
    shard, held = [], 0
    for row in table:
        size = _source(row, clips).stat().st_size
        if shard and held + size > SHARD_BYTES:
            yield shard
            shard, held = [], 0
        shard.append(row)
        held += size
    if shard:
        yield shard


def _source(row: dict, clips: Path) -> Path:
    return clips / row["song_id"] / Path(row["file_name"]).name


def _with_sound(row: dict, clips: Path) -> dict:
    path = _source(row, clips)
    return {**row, "audio": {"bytes": path.read_bytes(), "path": path.name}}


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

"""Put cut songs together into a dataset, and read it back to see that no split leaks."""

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Value

from genreast.audio import SAMPLING_RATE
from genreast.audiofolder import METADATA_FILE, clip_columns
from genreast.clip_files import link, write_shards
from genreast.clips import SongRecord, clip_name
from genreast.features import FeatureStats
from genreast.song_table import SongRow, read_songs
from genreast.songs import genre_folders
from genreast.splits import SPLITS


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
        link(_source(row, clips), folder / row["file_name"])
    features = Features({"file_name": Value("string"), **clip_columns(genres)})
    schema = features.arrow_schema
    pq.write_table(pa.Table.from_pylist(table, schema=schema), folder / METADATA_FILE)


def write_parquet(
    table: list[dict], genres: list[str], clips: Path, folder: Path, split: str
) -> None:
    """Write a split as Parquet shards that hold the clips' FLAC bytes."""
    # Songs in the order of the hash that ends their ids: read one after the other, as streaming
    # does, the genres come mixed.
    table = sorted(table, key=lambda row: row["song_id"].rsplit("-", 1)[-1])
    metadata = pa.Table.from_pylist(table, schema=clip_columns(genres).arrow_schema)
    write_shards([_source(row, clips) for row in table], metadata, split, folder)


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


def _source(row: dict, clips: Path) -> Path:
    return clips / row["song_id"] / Path(row["file_name"]).name

"""Put cut songs together into a dataset, and read it back to see that no split leaks."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Value

from genreast.audio import SAMPLING_RATE
from genreast.data.audiofolder import METADATA_FILE
from genreast.data.clip_files import link, rows_of, write_shards
from genreast.data.columns import clip_columns
from genreast.data.song_record import SongRecord, clip_name
from genreast.data.song_table import SongRow, read_songs
from genreast.data.songs import genre_folders
from genreast.data.splits import SPLITS
from genreast.feature_stats import FeatureStats

SONGS_AT_ONCE = 1000  # as rows; in a table a clip takes half the memory


def clip_table(songs: list[SongRow], records: dict[str, SongRecord], genres: list[str]) -> pa.Table:
    """The songs' clips, song by song: where each goes, its label, song, group and start."""
    labels = {genre: label for label, genre in enumerate(genres)}
    folders = genre_folders(genres)
    parts = []
    for first in range(0, len(songs), SONGS_AT_ONCE):
        clips = [
            {
                "file_name": f"{folders[labels[song.genre]]}/{clip_name(song.song_id, start)}",
                "label": labels[song.genre],
                "song_id": song.song_id,
                "group": song.group,
                "start": start / SAMPLING_RATE,
            }
            for song in songs[first : first + SONGS_AT_ONCE]
            for start in records[song.song_id].starts
        ]
        parts.append(pa.Table.from_pylist(clips, schema=clip_schema(genres)))
    return pa.concat_tables(parts)


def clip_schema(genres: list[str]) -> pa.Schema:
    """The columns of `clip_table`."""
    return Features({"file_name": Value("string"), **clip_columns(genres)}).arrow_schema


def mixing_key(song_id: str) -> str:
    """The hash that ends a song's id: in its order, which streaming reads in, genres come mixed."""
    return song_id.rsplit("-", 1)[-1]


def write_files(table: pa.Table, clips: Path, folder: Path) -> None:
    """Link every clip of a split to its place under `folder`, and write `metadata.parquet`."""
    for row in rows_of(table):
        link(_source(row, clips), folder / row["file_name"])
    pq.write_table(table, folder / METADATA_FILE)


def write_parquet(table: pa.Table, clips: Path, folder: Path, split: str) -> None:
    """Write a split as Parquet shards that hold the clips' FLAC bytes."""
    write_shards(table, lambda row: _source(row, clips), split, folder)


def train_stats(rows: list[SongRow], records: dict[str, SongRecord]) -> FeatureStats:
    """Statistics over the train split, its songs' merged in the order of their paths."""
    stats = FeatureStats()
    for row in rows:
        if row.split == "train":
            stats.merge(FeatureStats(**records[row.song_id].stats))
    return stats


def check(folder: Path, recordings: bool = True) -> None:
    """Read a written dataset back: every clip there, and no song, group or recording in two splits.

    `recordings` is False where equal ones were not to be looked for. The sound in shards is not
    read again; their rows are counted.

    Raises RuntimeError, for it would be a fault of this program.
    """
    found: dict[tuple[str, str], str] = {}  # a song, group or recording → its split
    clips = 0

    def note(kind: str, value: str, split: str) -> None:
        if value and found.setdefault((kind, value), split) != split:
            raise RuntimeError(f"{kind} '{value}' stands in more than one split")

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
                    note(kind, value, split)
            for row in [] if shards else rows_of(table):
                clip = path.parent / row["file_name"]
                if not clip.is_file():
                    raise RuntimeError(f"clip '{clip}' is missing")
                if clip.stat().st_size == 0:
                    raise RuntimeError(f"clip '{clip}' is empty")
    rows = read_songs(folder)
    for row in rows:
        if row["split"] and recordings:
            note("recording", row["recording"], row["split"])
    expected = sum(int(row["clips"]) for row in rows if row["split"])
    if clips != expected:
        raise RuntimeError(f"{clips} clips written, {expected} listed in songs.csv")


def _source(row: dict, clips: Path) -> Path:
    return clips / row["song_id"] / Path(row["file_name"]).name

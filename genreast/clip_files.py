"""Clips where a dataset wants them: under a second name, or their bytes in Parquet shards."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Audio, Features

from genreast.audio import SAMPLING_RATE

SHARD_BYTES = 300 * 1024 * 1024  # of sound in a shard; the Hub advises files below 500 MB
ROWS_A_GROUP = 100  # clips read at once, about 20 MB; the Dataset Viewer reads one group at a time


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_shards(clips: list[Path], metadata: pa.Table, split: str, folder: Path) -> None:
    """Write a split as `<split>-<number>-of-<shards>.parquet`: in each row a clip's bytes as
    `audio`, then its row of `metadata`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = Features.from_arrow_schema(metadata.schema)
    schema = Features({"audio": Audio(sampling_rate=SAMPLING_RATE), **features}).arrow_schema
    shards = list(_shards(clips))
    for number, shard in enumerate(shards):
        path = folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
        # Content-defined chunks let Xet send only the clips that are new.
        with pq.ParquetWriter(path, schema, use_content_defined_chunking=True) as writer:
            for start in range(shard.start, shard.stop, ROWS_A_GROUP):
                part = slice(start, min(start + ROWS_A_GROUP, shard.stop))
                sound = [{"bytes": clip.read_bytes(), "path": clip.name} for clip in clips[part]]
                rows = metadata.slice(start, len(sound)).columns
                columns = [pa.array(sound, schema.field("audio").type), *rows]
                writer.write_table(pa.table(columns, schema=schema))


def _shards(clips: list[Path]) -> Iterator[range]:
    """The clips in runs whose sound stays below `SHARD_BYTES`, as the numbers of each."""
    start = held = 0
    for number, clip in enumerate(clips):
        size = clip.stat().st_size
        if held and held + size > SHARD_BYTES:
            yield range(start, number)
            start = number
            held = 0
        held += size
    yield range(start, len(clips))

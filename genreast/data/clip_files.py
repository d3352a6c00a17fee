"""Clips where a dataset wants them: under a second name, or their bytes in Parquet shards."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Audio, Features

from genreast.audio import SAMPLING_RATE

SHARD_BYTES = 300 * 1024 * 1024  # of sound in a shard; the Hub advises files below 500 MB
ROWS_A_GROUP = 100  # clips read at once, about 20 MB; the Dataset Viewer reads one group at a time


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links; of a symbolic link
    the file that it leads to. A target that stands already stays as it is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except FileExistsError:
        pass  # it may be a second name of another's file, which a copy would write into
    except OSError:
        shutil.copyfile(source, target)


def rows_of(table: pa.Table) -> Iterator[dict]:
    """The rows of a table, few of them at once."""
    for batch in table.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


def write_shards(table: pa.Table, source: Callable[[dict], Path], split: str, folder: Path) -> None:
    """Write a split as `<split>-<number>-of-<shards>.parquet`: in each row a clip's bytes as
    `audio`, then its row of `table` but for the `file_name`.

    `source` gives the clip's file for its row. Raises OSError when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = Features.from_arrow_schema(table.drop_columns("file_name").schema)
    schema = Features({"audio": Audio(sampling_rate=SAMPLING_RATE), **features}).arrow_schema
    shards = list(_shards(source(row).stat().st_size for row in rows_of(table)))
    for number, shard in enumerate(shards):
        path = folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
        # Content-defined chunks let Xet send only the clips that are new.
        with parquet_writer(path, schema, use_content_defined_chunking=True) as write:
            for start in range(shard.start, shard.stop, ROWS_A_GROUP):
                part = table.slice(start, min(ROWS_A_GROUP, shard.stop - start))
                clips = [source(row) for row in part.to_pylist()]
                sound = [{"bytes": clip.read_bytes(), "path": clip.name} for clip in clips]
                columns = part.drop_columns("file_name").columns
                columns = [pa.array(sound, schema.field("audio").type), *columns]
                write(pa.table(columns, schema=schema))


@contextlib.contextmanager
def parquet_writer(path: Path, schema: pa.Schema, **options) -> Iterator[Callable]:
    """A function that writes a table as one more group of rows of a Parquet file, which raises
    OSError when the disk is full.
    """
    # Arrow ends the process where a group cannot be written (column_writer.cc): a buffer larger
    # than any takes it, and is written here. What of it is never filled takes no memory.
    with (
        open(path, "wb", buffering=2 * SHARD_BYTES) as file,
        pq.ParquetWriter(file, schema, write_page_checksum=True, **options) as writer,
    ):

        def write(table: pa.Table) -> None:
            writer.write_table(table)
            file.flush()

        yield write


def _shards(sizes: Iterable[int]) -> Iterator[range]:
    """Clips in runs whose sound stays below `SHARD_BYTES`, as the numbers of each."""
    start = held = count = 0
    for number, size in enumerate(sizes):
        count = number + 1
        if held and held + size > SHARD_BYTES:
            yield range(start, number)
            start = number
            held = 0
        held += size
    yield range(start, count)

"""Parquet shards read in parts: the small columns of every clip, the sound a row group at a time.

Shards lie in a folder or on the Hub. Reading the small columns by projection costs a few kilobytes
a row group, where the sound of its clips takes megabytes.
"""

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import (
    Audio,
    Dataset,
    DatasetDict,
    Features,
    concatenate_datasets,
    load_dataset,
    load_dataset_builder,
)
from huggingface_hub import constants

from genreast.data.audiofolder import is_prepared
from genreast.data.columns import check_columns, conform, features_of
from genreast.data.dataset_refusals import dataset_faults
from genreast.data.given_splits import called_here
from genreast.errors import UserError
from genreast.hub_ids import split_revision

READERS = 16  # shards opened at once: on the Hub each of them is a wait


@dataclass(frozen=True)
class RowGroups:
    """Where the sound of a split lies, in the order of its rows."""

    column: str  # that holds the sound
    places: list[tuple[str, int]]  # the shard, and which of its row groups
    starts: np.ndarray  # (groups + 1,) first row of each row group, then the number of rows

    def __len__(self) -> int:
        return len(self.places)

    def holding(self, rows: np.ndarray) -> np.ndarray:
        """The row group that holds each row."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def read(self, group: int, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The encoded sound of some rows of a group: row → a dict with `bytes` and `path`."""
        shard, number = self.places[group]
        with open_shard(shard) as file:
            table = pq.ParquetFile(file).read_row_group(number, columns=[self.column])
        rows = sorted(set(rows))
        sound = table[0].take(pa.array(np.asarray(rows) - self.starts[group])).combine_chunks()
        sound = Audio(decode=False).cast_storage(sound)
        return dict(zip(rows, sound.to_pylist(), strict=True))


@contextlib.contextmanager
def open_shard(shard: str) -> Iterator[BinaryIO]:
    """A shard of a folder or an address, for reading in parts.

    Raises UserError when it cannot be opened, or what is read of it is broken.
    """
    # Parquet asks for the bytes it needs, and a cache would fetch megabytes around them.
    remote = "://" in shard
    try:
        with fsspec.open(shard, cache_type="none") if remote else open(shard, "rb") as file:
            yield file
    except (OSError, pa.ArrowInvalid, httpx2.HTTPError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"shard '{shard}' cannot be read ({cause}); when it can, go on with "
            "--resume_from_checkpoint last"
        ) from error


def read_shards(
    dataset: str,
    audio_column: str,
    label_column: str,
    song_column: str,
    config: str | None = None,
) -> tuple[DatasetDict, dict[str, RowGroups]]:
    """The splits of a dataset in Parquet shards without their sound, and where that lies.

    Columns as `load_splits` gives them, less `audio`. Raises UserError when `dataset` is not in
    Parquet shards, or lacks a column.
    """
    files, features = _shard_files(dataset, config)
    splits, groups = {}, {}
    for split, shards in files.items():
        with open_shard(shards[0]) as file:
            schema = pq.ParquetFile(file).schema_arrow
        there = schema.names
        check_columns(there, audio_column, label_column, song_column, dataset)
        known = features or features_of(schema, shards[0])
        small = dict.fromkeys([label_column, song_column, "group", "start"])
        small = Features({name: known[name] for name in small if name in known and name in there})
        # Only where no column names the songs do the paths of the clips.
        columns = [*small] if song_column in small else [*small, f"{audio_column}.path"]
        splits[split], groups[split] = _read_split(shards, columns, small, audio_column)
    splits = conform(DatasetDict(splits), dataset, audio_column, label_column, song_column)
    return splits.remove_columns("audio"), groups


def with_sound(split: Dataset, groups: RowGroups) -> Dataset:
    """A split with its sound, for reading in any order.

    It is copied into the cache of `datasets` once and mapped from there: it takes its size on the
    disk, which all processes share, and no memory. From the Hub its shards are kept there too.
    """
    shards = list(dict.fromkeys(shard for shard, _ in groups.places))
    files = {"sound": shards}
    sound = load_dataset("parquet", data_files=files, columns=[groups.column], split="sound")
    if groups.column != "audio":
        sound = sound.rename_column(groups.column, "audio")
    return concatenate_datasets([sound.cast_column("audio", Audio(decode=False)), split], axis=1)


def _shard_files(dataset: str, config: str | None) -> tuple[dict[str, list[str]], Features | None]:
    """The shards of each split, and what the dataset's card says of their columns."""
    with dataset_faults(dataset):
        files = config is None and is_prepared(Path(dataset))
        repo_id, revision = split_revision(dataset)
        builder = None if files else load_dataset_builder(repo_id, config, revision=revision)
    if builder and builder.name == "cache":
        why = "is off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "does not give it"
        raise UserError(
            f"dataset '{dataset}' lies in the cache alone, and --streaming reads it from the Hub,"
            f" which {why}: leave out --streaming"
        )
    if builder is None or builder.name != "parquet":
        raise UserError(
            f"'{dataset}' is not in Parquet shards, which --streaming reads; make them with: "
            "python prepare_dataset.py RAW_DIR --format parquet, or leave out --streaming"
        )
    found = {str(split): names for split, names in builder.config.data_files.items()}
    files = {name: [*map(str, found[theirs])] for theirs, name in called_here(found).items()}
    return files, builder.info.features


def _read_split(
    shards: list[str], columns: list[str], features: Features, audio_column: str
) -> tuple[Dataset, RowGroups]:
    """One split's small columns, and its row groups."""
    with ThreadPoolExecutor(READERS) as pool:
        parts = list(
            pool.map(lambda shard: _read_small(shard, columns, features, audio_column), shards)
        )
    groups = [  # an empty shard has one without rows
        ((shard, number), size)
        for shard, (_, sizes) in zip(shards, parts, strict=True)
        for number, size in enumerate(sizes)
        if size
    ]
    places = [place for place, _ in groups]
    starts = np.cumsum([0, *(size for _, size in groups)])
    table = pa.concat_tables(table for table, _ in parts)
    return Dataset(table), RowGroups(audio_column, places, starts)


def _read_small(
    shard: str, columns: list[str], features: Features, audio_column: str
) -> tuple[pa.Table, list[int]]:
    """A shard's small columns with an empty one for the sound, and the sizes of its row groups."""
    with open_shard(shard) as file:
        parquet = pq.ParquetFile(file, pre_buffer=True)
        table = parquet.read(columns=columns)
        sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
    paths = pa.nulls(len(table), pa.string())
    if audio_column in table.column_names:
        paths = table[audio_column].combine_chunks().field("path").cast(pa.string())
    silent = pa.StructArray.from_arrays(
        [pa.nulls(len(table), pa.binary()), paths], fields=list(Audio().pa_type)
    )
    table = table.select([*features]).add_column(0, audio_column, silent)
    features = Features({audio_column: Audio(decode=False), **features})
    return table.cast(features.arrow_schema), sizes

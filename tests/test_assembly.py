"""The last look at a written dataset: what leaks or lacks is named, whatever the form."""

import csv
import os
import re
import resource
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SHARD_BYTES
from song_library import make_library, prepare

from genreast.data import assembly
from genreast.data.assembly import check
from genreast.data.clip_files import link, write_shards


@pytest.fixture(scope="module", params=["files", "parquet"])
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    raw = make_library(folder / "raw", {"jazz": 4, "rock": 4}, seconds=(2, 3), suffixes=["wav"])
    output = folder / "dataset"
    prepare(raw, "--output_dir", output, "--clip_seconds", 1, "--format", request.param)
    return output


@pytest.fixture
def dataset(written, tmp_path):
    """A copy to tamper with."""
    shutil.copytree(written, tmp_path / "dataset")
    check(tmp_path / "dataset")
    return tmp_path / "dataset"


def table(dataset, split):
    """Where a split's rows stand, in either form."""
    return next(dataset.glob(f"{split}/metadata.parquet"), None) or next(
        dataset.glob(f"data/{split}-*.parquet")
    )


def rewrite(path, change):
    rows = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(rows.to_pylist()), schema=rows.schema), path)


def first(dataset, split):
    return pq.read_table(table(dataset, split)).slice(0, 1).to_pylist()[0]


@pytest.mark.parametrize("kind", ["song_id", "group"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_song_or_group_in_two_splits_is_named(dataset, kind, split):
    leaked = first(dataset, "train")[kind]
    rewrite(table(dataset, split), lambda rows: [*rows[:-1], {**rows[-1], kind: leaked}])
    with pytest.raises(RuntimeError, match=f"{kind} '{re.escape(leaked)}' stands in more than one"):
        check(dataset)


def test_a_recording_in_two_splits_is_named_unless_equal_ones_were_not_looked_for(dataset):
    with open(dataset / "songs.csv", newline="", encoding="utf-8") as file:
        songs = list(csv.DictReader(file))
    one = next(song for song in songs if song["split"] == "train")
    other = next(song for song in songs if song["split"] == "test")
    other["recording"] = one["recording"]
    with open(dataset / "songs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(songs[0]))
        writer.writeheader()
        writer.writerows(songs)
    with pytest.raises(RuntimeError, match=f"recording '{one['recording']}' stands in more than"):
        check(dataset)
    check(dataset, recordings=False)


def test_rows_that_are_not_there_are_counted(dataset):
    rewrite(table(dataset, "train"), lambda rows: rows[1:])
    with pytest.raises(RuntimeError, match=r"\d+ clips written, \d+ listed in songs.csv"):
        check(dataset)


def test_a_split_that_is_not_there_is_noticed(dataset):
    table(dataset, "test").unlink()
    with pytest.raises(RuntimeError, match=r"\d+ clips written, \d+ listed in songs.csv"):
        check(dataset)


@pytest.mark.parametrize("written", ["files"], indirect=True)
@pytest.mark.parametrize("spoil", ["empty", "missing"])
def test_an_empty_or_missing_clip_is_named(dataset, spoil):
    clip = dataset / "train" / first(dataset, "train")["file_name"]
    clip.unlink()
    if spoil == "empty":
        clip.touch()
    with pytest.raises(RuntimeError, match=f"clip '{re.escape(str(clip))}' is {spoil}"):
        check(dataset)


def test_a_disk_that_is_full_as_shards_are_written_is_an_error_to_be_told(tmp_path):
    """Arrow's content-defined chunks ended the process instead."""
    names = [f"{number}.flac" for number in range(5)]
    for name in names:
        (tmp_path / name).write_bytes(os.urandom(1_000_000))
    song = {"label": 0, "song_id": "a", "group": "a", "start": 0.0}
    rows = [{"file_name": name, **song} for name in names]
    clips = pa.Table.from_pylist(rows, schema=assembly.clip_schema(["jazz"]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_shards(clips, lambda row: tmp_path / row["file_name"], "train", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_dataset_with_a_fault_never_gets_its_name(tmp_path, monkeypatch):
    raw = make_library(tmp_path / "raw", {"jazz": 3, "rock": 3}, (1, 2), ["wav"])
    empty = tmp_path / "empty"
    empty.touch()
    monkeypatch.setattr(assembly, "link", lambda source, target: link(empty, target))
    with pytest.raises(RuntimeError, match="is empty"):
        prepare(raw, "--output_dir", tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
    monkeypatch.undo()
    prepare(raw, "--output_dir", tmp_path / "dataset")


def test_no_shard_holds_more_sound_than_it_may(sharded):
    shards = sorted((sharded / "data").glob("train-*"))
    held = [
        sum(len(clip["bytes"]) for clip in pq.read_table(shard)["audio"].to_pylist())
        for shard in shards
    ]
    assert max(held) <= SHARD_BYTES and min(held[:-1]) > SHARD_BYTES / 2

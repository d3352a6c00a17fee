"""The long steps of `prepare_dataset.py`: songs are cut, and what they gave becomes a dataset.

The others stand in modules of their own: finding the songs in `genres`, choosing and splitting them
in `selection`.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from genreast.arguments import PrepareArguments
from genreast.audio import SAMPLING_RATE
from genreast.bars import bar
from genreast.data import kept_records
from genreast.data.assembly import (
    check,
    clip_table,
    mixing_key,
    train_stats,
    write_files,
    write_parquet,
)
from genreast.data.dataset_card import write_card, write_facts
from genreast.data.genres import Library
from genreast.data.song_record import SongRecord
from genreast.data.song_table import SongRow, read_songs, summary, write_songs
from genreast.data.splits import SPLITS
from genreast.data.work_folder import WorkFolder, cut_settings
from genreast.data.workers import Failed, Task, by_name, run_dask, run_local, usable_cores
from genreast.errors import DISK_FULL, UserError

PATIENCE = 25.0  # seconds that the smallest file may take
BYTES_A_SECOND = 1_000_000  # a larger file has a second more for each million bytes
CUT_SONG = partial(by_name, "genreast.data.clips:cut_song")  # workers load torch, this does not


def cut_songs(
    library: Library, work: WorkFolder, datasets: list[Path], args: PrepareArguments
) -> dict[str, SongRecord]:
    """Every song's record, by song id; those cut in a run that was stopped, or held by one of the
    `datasets`, are not cut again.

    Raises UserError when the disk is full.
    """
    with _disk_faults(work):
        for dataset in datasets:
            kept_records.take(dataset, library, work, args)
    records, tasks, settings = {}, [], cut_settings(args)
    for song in library.songs:
        source = (library.root / song.path).absolute()
        record = SongRecord.load(work.songs, song.song_id, source, settings)
        if record:
            records[song.song_id] = record
        else:
            size = source.stat().st_size if source.exists() else 0
            arguments = (source, song.song_id, work.path, settings)
            tasks.append(Task(arguments, PATIENCE + size / BYTES_A_SECOND))
    tasks.sort(key=lambda task: -task.seconds)  # the longest first: no worker is left with one
    if not tasks:
        results = []
    elif args.dask:
        results = run_dask(CUT_SONG, tasks, args.dask)
    else:
        workers = min(args.num_workers or usable_cores(), len(tasks))
        results = run_local(CUT_SONG, tasks, workers)
    cutting = bar(total=len(library.songs), initial=len(records), unit="song", desc="cutting songs")
    with _disk_faults(work), cutting:
        for task, result in results:
            song_id = task.arguments[1]
            if isinstance(result, Failed):
                result = SongRecord(song_id, "unreadable", str(result))
            records[song_id] = result
            cutting.update()
    return records


def write_dataset(
    rows: list[SongRow],
    records: dict[str, SongRecord],
    library: Library,
    work: WorkFolder,
    args: PrepareArguments,
) -> str:
    """Write the dataset aside, read it back, and give it its name. Returns the summary."""
    print("writing the dataset, and reading it back", file=sys.stderr)
    shutil.rmtree(work.dataset, ignore_errors=True)
    work.dataset.mkdir()
    left = {row.genre for row in rows if row.split}
    genres = [genre for genre in library.genres if genre in left]
    minutes = {song: record.clip_samples / SAMPLING_RATE / 60 for song, record in records.items()}
    text = summary(rows, genres, minutes)
    with _disk_faults(work):
        for split in SPLITS:
            songs = [row for row in rows if row.split == split]
            if songs and args.format == "files":
                table = clip_table(songs, records, genres)
                write_files(table, work.clips, work.dataset / split)
            elif songs:
                songs.sort(key=lambda song: mixing_key(song.song_id))
                table = clip_table(songs, records, genres)
                write_parquet(table, work.clips, work.dataset / "data", split)
        write_songs(rows, work.dataset)
        if args.feature_stats:
            train_stats(rows, records).save(work.dataset)
        kept_records.keep(rows, records, work, args)
        write_card(work.dataset, args, rows, genres, text)
        write_facts(work.dataset, args, rows)
        check(work.dataset, recordings=args.duplicates == "group")
        work.publish(text)
    return text


def left_out(dataset: Path) -> int:
    """How many files a dataset's `songs.csv` lists as not used."""
    return sum(row["status"] != "used" for row in read_songs(dataset))


@contextlib.contextmanager
def _disk_faults(work: WorkFolder) -> Iterator[None]:
    """Say what to do when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL and "No space left" not in str(error):
            raise
        raise UserError(
            f"no space left for '{work.path}'; free some and give the same command again: it goes"
            " on from here"
        ) from error

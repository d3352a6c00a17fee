"""The steps of `prepare_dataset.py`: cut songs in a work folder, split them, write the dataset."""

import errno
import shutil
from pathlib import Path

from genreast.assembly import place_clips, publish, train_stats
from genreast.audio import SAMPLING_RATE
from genreast.clips import CutSettings, SongRecord, cut_song
from genreast.config import PrepareArguments
from genreast.dataset_card import write_card
from genreast.errors import UserError
from genreast.song_table import SongRow, summary, write_songs
from genreast.songs import Library
from genreast.splits import Member, split_songs
from genreast.workers import run_local


def open_work_folder(args: PrepareArguments) -> Path:
    """The folder beside the output where songs are cut.

    Raises UserError when the output stands already.
    """
    output = Path(args.output_dir)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"'{output}' stands already and is not empty; name another --output_dir, or remove it"
        )
    work = output.with_name(output.name + ".work")
    for folder in ("songs", "clips"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    return work


def cut_songs(library: Library, work: Path, args: PrepareArguments) -> dict[str, SongRecord]:
    """Every song's record, by song id; those cut in an earlier, stopped run are not cut again."""
    settings = CutSettings(
        args.clip_seconds, args.skip_start_seconds, args.skip_end_seconds, args.max_clips_per_song
    )
    ids = [song.song_id for song in library.songs]
    records = {song_id: SongRecord.load(work / "songs", song_id) for song_id in ids}
    tasks = [
        (library.root / song.path, song.song_id, work, settings)
        for song in library.songs
        if records[song.song_id] is None
    ]
    try:
        for record in run_local(cut_song, tasks, args.num_workers):
            records[record.song_id] = record
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"no space left for '{work}'; free some and give the same command again:"
                " it goes on from here"
            ) from error
        raise
    return records


def split_rows(
    library: Library, records: dict[str, SongRecord], args: PrepareArguments
) -> list[SongRow]:
    """What became of each file, with a split for each song that is used."""
    rows = []
    for file in library.files:
        row = SongRow(file.path, file.genre, status=file.status, reason=file.reason)
        if not file.status:
            record = records[file.song_id]
            row.song_id = row.group = file.song_id
            row.status, row.reason = record.status, record.reason
            row.clips, row.seconds = len(record.starts), record.samples / SAMPLING_RATE
        rows.append(row)
    used = [row for row in rows if row.status == "used"]
    splits = split_songs(
        [Member(row.song_id, row.genre, row.group) for row in used],
        args.val_fraction,
        args.test_fraction,
        args.seed,
    )
    for row in used:
        row.split = splits[row.group]
    return rows


def finish(
    rows: list[SongRow],
    records: dict[str, SongRecord],
    library: Library,
    work: Path,
    args: PrepareArguments,
) -> str:
    """Write the dataset aside and give it its name. Returns the summary to print."""
    aside = work / "dataset"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    place_clips(rows, records, library.genres, work / "clips", aside)
    clip = args.clip_seconds
    minutes = {row.song_id: min(clip * row.clips, row.seconds) / 60 for row in rows if row.split}
    text = summary(rows, library.genres, minutes)
    write_songs(rows, aside)
    train_stats(rows, records).save(aside)
    write_card(aside, args, rows, library.genres, text)
    publish(aside, Path(args.output_dir))
    shutil.rmtree(work)
    return text

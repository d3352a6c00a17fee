"""What is known of a dataset's songs, kept in it, so that another need not decode them again.

`song_records.parquet` holds the record and the fingerprint of each song, and a seal over them. With
the dataset's own clips that is all there is of a song once it is cut: put where a stopped run would
have left it, the next run goes on from there. Only songs whose file is the same, cut by the same
settings, are taken.
"""

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from genreast.arguments import PrepareArguments
from genreast.bars import bar
from genreast.data.clip_files import ROWS_A_GROUP, link, parquet_writer
from genreast.data.cuts import CutSettings
from genreast.data.genres import Library
from genreast.data.song_record import (
    FINGERPRINT_FILE,
    FLAC_HEAD,
    RECORDS_FILE,
    SongRecord,
    clip_mark,
    clip_name,
)
from genreast.data.song_table import SongRow
from genreast.data.splits import SPLITS
from genreast.data.work_folder import MARK, WorkFolder, cut_settings
from genreast.errors import UserError, one_line

SEALED = {"song_id": pa.string(), "record": pa.string(), "fingerprint": pa.binary()}
SCHEMA = pa.schema(SEALED | {"seal": pa.binary()})


def keep(
    rows: list[SongRow], records: dict[str, SongRecord], work: WorkFolder, args: PrepareArguments
) -> None:
    """Write what is known of the songs into the dataset, in the order of `rows`.

    Left out are songs that could not be read, and those whose clips the dataset does not hold.
    Raises OSError when the disk is full.
    """
    settings = cut_settings(args)
    known = [
        _as_asked(record, settings)
        for row in rows
        if (record := records.get(row.song_id))
        and (row.split or record.status not in ("used", "unreadable"))
    ]
    schema = SCHEMA.with_metadata({MARK: json.dumps(_settings(work), sort_keys=True)})
    with parquet_writer(work.dataset / RECORDS_FILE, schema) as write:
        for start in range(0, len(known), ROWS_A_GROUP):
            group = [
                {
                    "song_id": record.song_id,
                    "record": json.dumps(asdict(record)),
                    "fingerprint": _fingerprint(work, record),
                }
                for record in known[start : start + ROWS_A_GROUP]
            ]
            sealed = [row | {"seal": _seal(row)} for row in group]
            write(pa.Table.from_pylist(sealed, schema=schema))


def clip_sources(work: WorkFolder, args: PrepareArguments) -> list[Path]:
    """The datasets whose clips can be taken: that of --clips_from, and the one that is updated.

    Raises UserError where the one that was asked for has none for these settings.
    """
    found = []
    if args.clips_from:
        found.append(Path(args.clips_from).resolve())
        if why := _why_not(found[0], work):
            raise UserError(f"--clips_from: {why}; leave it out to have every song decoded")
    if work.replaces is not None and work.output not in found:
        why = _why_not(work.output, work)
        if not why:
            found.append(work.output)
        elif not found:
            print(f"{why}: every song is decoded again", file=sys.stderr)
    return found


def take(dataset: Path, library: Library, work: WorkFolder, args: PrepareArguments) -> None:
    """Put what a dataset holds of the library's songs where a stopped run would have left it.

    A clip that is not as it was written leaves its song to be cut. Raises OSError when the disk is
    full.
    """
    settings = cut_settings(args)
    sources = {song.song_id: (library.root / song.path).absolute() for song in library.songs}
    missing = {
        song_id: source
        for song_id, source in sources.items()
        if not SongRecord.load(work.songs, song_id, source, settings)
    }
    if not missing:
        return
    known = {}
    for row in _rows(dataset / RECORDS_FILE, SCHEMA.names):
        song_id = row["song_id"]
        intact = song_id in missing and row["seal"] == _seal(row)
        if intact and (record := SongRecord.parse(row["record"], missing[song_id], settings)):
            known[song_id] = record
            folder = work.clips / song_id
            # A clip left there may be a link into a dataset, not to be written over.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if row["fingerprint"]:
                (folder / FINGERPRINT_FILE).write_bytes(row["fingerprint"])
    clips = _clips(dataset, known, work.clips)
    total = sum(len(record.starts) for record in known.values())
    for _ in bar(clips, total=total, unit="clip", desc="taking clips", disable=not total):
        pass
    taken = 0
    for song_id, record in known.items():
        if _marks(record, work.clips / song_id) == record.clips:
            record.save(work.songs)
            taken += 1
    told = f"{taken} of {len(missing)} songs are as '{dataset}' has them, and not decoded again"
    print(told, file=sys.stderr)


def _clips(dataset: Path, known: dict[str, SongRecord], folder: Path) -> Iterator[None]:
    """Link or copy each clip of the known songs to `folder`, one a step; each is known by its name,
    whatever a user has made of the dataset's tables.
    """
    for split in SPLITS:
        for clip in (dataset / split).glob("*/*.flac"):
            song_id = clip.name.rpartition("_")[0]
            if song_id in known and clip.is_file():
                link(clip, folder / song_id / clip.name)
                yield
        for shard in sorted((dataset / "data").glob(f"{split}-*.parquet")):
            for row in _rows(shard, ["audio", "song_id"]):
                sound = row["audio"] or {}
                if row["song_id"] in known and sound.get("path") and sound.get("bytes"):
                    clip = folder / row["song_id"] / Path(sound["path"]).name
                    if not clip.exists():  # as in `link`
                        clip.write_bytes(sound["bytes"])
                    yield


def _rows(path: Path, columns: list[str]) -> Iterator[dict]:
    """The rows of a Parquet file, few of them at once: none where there is no file or it lacks a
    column, and those before it where one is damaged.
    """
    with (
        contextlib.suppress(pa.ArrowException, OSError, ValueError, KeyError),
        # Read ahead, all of it would stay in memory.
        pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        for batch in file.iter_batches(ROWS_A_GROUP, columns=columns):
            yield from batch.select(columns).to_pylist()


def _marks(record: SongRecord, folder: Path) -> str:
    """What `SongRecord.clips` is of the clips that lie in a folder; of none, an empty text."""
    marks = hashlib.sha256()
    for start in record.starts:
        path = folder / clip_name(record.song_id, start)
        if not path.is_file():
            return "a clip is missing"
        with open(path, "rb") as file:
            marks.update(clip_mark(file.read(FLAC_HEAD), path.stat().st_size))
    return marks.hexdigest() if record.starts else ""


def _as_asked(record: SongRecord, settings: CutSettings) -> SongRecord:
    """The record without what a stopped run measured and this one was not asked for."""
    return replace(
        record,
        fingerprints=settings.fingerprints,
        feature_stats=settings.feature_stats,
        stats=record.stats if settings.feature_stats else {},
    )


def _fingerprint(work: WorkFolder, record: SongRecord) -> bytes | None:
    if not (record.starts and record.fingerprints):
        return None
    return (work.clips / record.song_id / FINGERPRINT_FILE).read_bytes()


def _seal(row: dict) -> bytes:
    """What tells a row as it was written: Parquet does not see that a disk has changed it."""
    return hashlib.sha256(repr([row[name] for name in SEALED]).encode()).digest()


def _settings(work: WorkFolder) -> dict:
    return {name: work.settings[name] for name in (MARK, "cut")}


def _why_not(dataset: Path, work: WorkFolder) -> str | None:
    """Why no clip of a dataset can be taken, or None where they can."""
    path, ours = dataset / RECORDS_FILE, _settings(work)
    if not path.is_file():
        return f"there is no '{path}', which prepare_dataset.py leaves in a dataset"
    try:
        written = (pq.read_schema(path).metadata or {}).get(MARK.encode(), b"{}")
        theirs = json.loads(written)
        version, cut = theirs.get(MARK), theirs.get("cut", {})
        others = {name: cut.get(name) for name in ours["cut"]}
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:  # or other JSON
        return f"'{path}' cannot be read ({one_line(error)})"
    if version != ours[MARK]:
        return f"'{dataset}' was made by another version of GenreAST than this, {ours[MARK]}"
    for name, value in ours["cut"].items():
        if others[name] != value:
            return f"'{dataset}' was cut with --{name} {others[name]}, not {value}"
    return None

"""What tells a dataset as it was written: its tables' digests, and the files that they name.

All else in its folder is the user's, and is not to be lost when the dataset is replaced.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from genreast.data.audiofolder import METADATA_FILE, PREPARATION_FILE, preparation
from genreast.data.song_record import RECORDS_FILE
from genreast.data.song_table import SONGS_FILE
from genreast.data.songs import is_junk
from genreast.data.splits import SPLITS
from genreast.errors import UserError
from genreast.feature_stats import STATS_FILE
from genreast.pages import PAGE_FILE, is_sealed

TABLES = (SONGS_FILE, STATS_FILE, *(f"{split}/{METADATA_FILE}" for split in SPLITS))
SHARD = re.compile(rf"data/({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.parquet")


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each of a dataset's tables, which an edit changes. `preparation.json` keeps
    them.
    """
    found = {}
    for name in TABLES:
        if (folder / name).is_file():
            with open(folder / name, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def check_replaceable(folder: Path) -> dict[str, str]:
    """The `digests` of a dataset that holds nothing of the user's.

    Raises UserError where it is no dataset of ours, or more than that. No sound is read: a million
    clips take seconds.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if SONGS_FILE not in names or not names & {*SPLITS, "data"}:
        raise UserError(
            f"'{folder}' is no dataset that prepare_dataset.py made: --update would lose it; name"
            " another --output_dir"
        )
    written, found = preparation(folder).get("sha256", {}), digests(folder)
    if edited := [name for name in found if found[name] != written.get(name)]:
        raise UserError(
            f"'{folder}' holds {edited[0]}, edited since or of an earlier version, which --update"
            f" would lose: name another --output_dir, with --splits_from '{folder}'"
        )
    page = folder / PAGE_FILE
    if page.is_file() and not is_sealed(page.read_text(encoding="utf-8", errors="replace")):
        strange = f"{PAGE_FILE}, edited since"
    else:
        ours = {PAGE_FILE, PREPARATION_FILE, RECORDS_FILE, *TABLES, *_clips(folder)}
        strange = next((name for name in _files(folder) if not _belongs(name, ours)), None)
    if strange:
        raise UserError(
            f"'{folder}' holds {strange}, which --update would lose: move it elsewhere first"
        )
    return found


def _belongs(name: str, ours: set[str]) -> bool:
    return name in ours or bool(SHARD.fullmatch(name)) or is_junk(name.rpartition("/")[2])


def _clips(folder: Path) -> Iterator[str]:
    """The files that the splits' tables name."""
    for split in SPLITS:
        path = folder / split / METADATA_FILE
        if path.is_file():
            names = pq.read_table(path, columns=["file_name"])["file_name"]
            yield from (f"{split}/{name}" for name in names.to_pylist())


def _files(folder: Path, above: str = "") -> Iterator[str]:
    """Every file below a folder, by its path from there; a link counts as one."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), f"{above}{entry.name}/")
        else:
            yield above + entry.name

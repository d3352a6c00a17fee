"""What became of every file: `songs.csv`, and the summary a person reads."""

import csv
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from genreast.data.splits import SPLITS
from genreast.errors import UserError

SONGS_FILE = "songs.csv"
ALL = None  # in the place of a genre, whose name can be any text


@dataclass
class SongRow:
    """One file of the raw folder, and what it gave."""

    path: str
    genre: str = ""
    song_id: str = ""
    group: str = ""
    split: str = ""
    status: str = ""
    reason: str = ""
    clips: int = 0
    seconds: float = 0.0
    matched_to: str = ""  # the file that holds the same recording
    recording: str = ""  # sha256 of the decoded samples


def write_songs(rows: list[SongRow], folder: Path) -> None:
    """Write `songs.csv`, one row a file, in the order of their paths."""
    path = folder / SONGS_FILE
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(SongRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_songs(folder: Path) -> list[dict[str, str]]:
    """The rows of a dataset's `songs.csv`. Raises UserError when there is none, or another one."""
    path = folder / SONGS_FILE
    expected = "expected a dataset that prepare_dataset.py made"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            if missing := {field.name for field in fields(SongRow)} - set(reader.fieldnames or ()):
                raise UserError(f"'{path}' has no column '{min(missing)}'; {expected}")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise UserError(f"'{path}' cannot be read ({words}); {expected}") from error


def without_group(rows: list[SongRow]) -> int:
    """How many used songs stand in a group that no key names: it has the id of one of its songs."""
    groups = {row.song_id: row.group for row in rows if row.status == "used"}
    return sum(group in groups for group in groups.values())


def summary(rows: list[SongRow], genres: list[str], minutes: dict[str, float]) -> str:
    """Songs, clips and minutes of clips per genre and split, and what was left out, as text.

    `minutes` gives the minutes of clips that a song (by its id) has.
    """
    songs, clips, length = Counter(), Counter(), defaultdict(float)
    for row in rows:
        for genre in (row.genre, ALL):
            songs[genre, row.split] += bool(row.split)
            clips[genre, row.split] += row.clips
            length[genre, row.split] += minutes.get(row.song_id, 0.0)
    width = max(len(genre) for genre in [*genres, "genre"])
    head = f"{'':{width}}" + "".join(f"  {split:^24}" for split in SPLITS)
    units = f"{'genre':{width}}" + f"  {'songs':>6} {'clips':>7} {'minutes':>9}" * len(SPLITS)
    lines = [head.rstrip(), units]
    for genre in [*genres, ALL]:
        cells = [
            f"  {songs[genre, split]:>6} {clips[genre, split]:>7} {length[genre, split]:>9.1f}"
            for split in SPLITS
        ]
        lines.append(f"{'all' if genre is ALL else genre:{width}}" + "".join(cells))
    left_out = Counter(row.status for row in rows if row.status != "used")
    if left_out:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(left_out.items()))
        lines.append(f"left out: {counts} (each with its reason in {SONGS_FILE})")
    near = sum(bool(row.matched_to) for row in rows if row.status == "used")
    if near:
        lines.append(f"near copies: {near} songs sound like another and share its split")
    genre_of = {row.path: row.genre for row in rows}
    torn = {
        tuple(sorted((row.path, row.matched_to)))
        for row in rows
        if row.matched_to and genre_of[row.matched_to] != row.genre
    }
    if torn:
        one, other = min(torn)
        lines.append(f"one sound in two genres: {len(torn)}, such as '{one}' and '{other}'")
    # Names need not be Unicode; the page and the terminal are.
    return "\n".join(lines).encode(errors="backslashreplace").decode()

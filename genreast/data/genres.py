"""Which genre each file has: the name of its folder, its tags, or a table's; and their order.

A genre is written `<genre>` or `<index>_<genre>`; the index sets the label's place.
"""

import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from genreast.bars import bar
from genreast.data.given_splits import SPLIT_NAMES, with_splits
from genreast.data.songs import SongFile, as_unicode, find_files, told_apart
from genreast.data.tags import read_genre, read_tags, spelling
from genreast.errors import UserError
from genreast.tables import check_known, normalised, read_table


@dataclass(frozen=True)
class Library:
    """What a raw folder holds: genres in label order, and every file, sorted by path."""

    root: Path
    genres: list[str]
    files: list[SongFile]

    @property
    def songs(self) -> list[SongFile]:
        """The files to decode."""
        return [file for file in self.files if not file.status]

    @property
    def splits(self) -> dict[str, str]:
        """The split that the user's table gives each song, by id; empty where there is none."""
        return {song.song_id: song.split for song in self.songs if song.split}


def read_library(
    raw_dir: str | Path,
    genre_by: str = "folder",
    min_songs: int = 1,
    splits_table: str | None = None,
) -> Library:
    """Find every file under `raw_dir` and its genre, which stands where `genre_by` says: folder
    (the first below `raw_dir`), tag, or a CSV file with columns `path` and `genre`.

    Songs that `splits_table` gives no split are left out where there is one, genres of fewer than
    `min_songs` files anywhere. Raises UserError when two genres are not left, two names claim one
    place, or all folders are splits.
    """
    root = Path(raw_dir)
    files = find_files(raw_dir)
    if splits_table:
        files = with_splits(files, splits_table)
    if genre_by == "folder":
        names = {file.path: file.path.partition("/")[0] for file in files if "/" in file.path}
        _tell_no_genres(root, files)
        without = "in no genre's folder"
    elif genre_by == "tag":
        names, without = _alike(_tagged(root, files)), "no genre in its tags"
    else:
        names, without = _alike(_from_table(genre_by, files)), "no genre in the table of genres"
    songs = Counter(names[file.path] for file in files if not file.status and file.path in names)
    if genre_by == "folder":
        _refuse_splits(sorted(songs), root)
    enough = sorted(name for name, count in songs.items() if count >= min_songs)
    genres = _in_order(enough, indexed=genre_by != "tag")
    if len(genres) < 2:
        too_few = _too_few(list(genres.values()), root, genre_by, min_songs)
        raise UserError(too_few + _told_unreadable(files))

    def placed(file: SongFile) -> SongFile:
        name = names.get(file.path, "")
        if file.status or name in genres:
            return replace(file, genre=genres.get(name, ""))
        if not name:
            return replace(file, status="no_genre", reason=without)
        few = f"'{as_unicode(name)}' has fewer than {min_songs} songs"
        return replace(file, status="rare_genre", reason=few)

    return Library(root, list(genres.values()), told_apart([placed(file) for file in files]))


def _tell_no_genres(root: Path, files: list[SongFile]) -> None:
    """Say on standard error where most folders have numbers for names, as those of collections
    that are sorted by track, or are artists', by the tags of a song in each."""
    first: dict[str, str] = {}
    for file in files:
        if not file.status and "/" in file.path:
            first.setdefault(file.path.partition("/")[0], file.path)
    numbers, artists = [folder for folder in first if folder.isdecimal()], []
    for folder, path in first.items():
        tags = read_tags(root / path)
        names = [*tags.get("artist", []), *tags.get("albumartist", [])]
        if spelling(folder) in map(spelling, names):
            artists.append(folder)
    for name, folders in {"a number for a name": numbers, "the name of an artist": artists}.items():
        if len(folders) > len(first) / 2:
            print(
                f"{len(folders)} of {len(first)} folders have {name}, such as"
                f" '{as_unicode(folders[0])}', and each is taken for a genre. If the genres stand"
                " in the tags or in a table: --genre_by tag, or FILE.csv (path,genre)",
                file=sys.stderr,
            )


def _tagged(root: Path, files: list[SongFile]) -> dict[str, str]:
    songs = [file.path for file in files if not file.status]
    reading = bar(songs, unit="song", desc="reading tags", leave=False)
    found = {path: read_genre(root / path) for path in reading}
    return {path: genre for path, genre in found.items() if genre}


def _from_table(file: str, files: list[SongFile]) -> dict[str, str]:
    table = read_table(file, "--genre_by", "genre")
    check_known(table, "--genre_by", file, [song.path for song in files if not song.status])
    named = {song.path: table.get(normalised(song.path), "") for song in files}
    return {path: genre for path, genre in named.items() if genre}


def _alike(genres: dict[str, str]) -> dict[str, str]:
    """Path → genre; spellings that differ in case or spaces count as the commonest of them."""
    spelt: dict[str, Counter] = defaultdict(Counter)
    for genre in genres.values():
        spelt[spelling(genre)][genre] += 1
    commonest = {key: max(sorted(count), key=count.get) for key, count in spelt.items()}
    return {path: commonest[spelling(genre)] for path, genre in genres.items()}


def _in_order(names: list[str], indexed: bool) -> dict[str, str]:
    """Name as it is written → genre: indexed ones by their number first, then the plain ones.

    A tag's number is not `indexed`, but its genre's: 8_bit.
    """
    pattern = re.compile(r"(\d+)_(.*\S.*)", re.DOTALL)
    matches = {name: pattern.fullmatch(name) if indexed else None for name in names}
    by_index: dict[int, str] = {}
    for name, match in matches.items():
        if match and by_index.setdefault(int(match[1]), name) != name:
            raise UserError(
                f"'{by_index[int(match[1])]}' and '{name}' have the same index {int(match[1])};"
                " give each genre its own"
            )
    order = [by_index[index] for index in sorted(by_index)]
    order += [name for name in names if not matches[name]]
    genres: dict[str, str] = {}
    for name in order:
        match = matches[name]
        genre = " ".join(as_unicode(match[2] if match else name).split())
        if other := next((other for other, known in genres.items() if known == genre), None):
            raise UserError(f"'{other}' and '{name}' both name the genre '{genre}'; rename one")
        genres[name] = genre
    return genres


def _told_unreadable(files: list[SongFile]) -> str:
    unreadable = [file for file in files if file.status == "unreadable"]
    if not unreadable:
        return ""
    first = unreadable[0]
    return f". {len(unreadable)} could not be read, such as '{first.path}': {first.reason}"


def _refuse_splits(folders: list[str], root: Path) -> None:
    if folders and all(name.lower() in SPLIT_NAMES for name in folders):
        raise UserError(
            f"the folders of '{root}' are splits ({', '.join(folders)}); expected a folder for each"
            " genre, whose songs are split here. To keep those splits, name the songs in a table"
            " (path,genre,split) and give it to --genre_by and --splits_from"
        )


def _too_few(genres: list[str], root: Path, genre_by: str, min_songs: int) -> str:
    none = "no genre's folder" if genre_by == "folder" else "no genre"
    found = f"only one genre, '{genres[0]}'," if genres else none
    found += f" of {min_songs} songs or more" if min_songs > 1 else " with a song"
    where = {"folder": "", "tag": "the tags of the songs in "}.get(genre_by, f"'{genre_by}' for ")
    found += f" found in {where}'{root}'; expected"
    if min_songs > 1:
        return f"{found} two or more: lower --min_songs_per_genre"
    if genre_by != "folder":
        return f"{found} two or more; --genre_by also takes folder, tag and FILE.csv (path,genre)"
    return (
        f"{found} a folder for each of two genres or more, such as"
        f" {root / '0_jazz'} and {root / '1_rock'}. Genres that stand in the songs' tags or in a"
        " table: --genre_by tag, or FILE.csv (path,genre)"
    )

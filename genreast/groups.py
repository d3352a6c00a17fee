"""What must not stand in two splits: songs of one artist, album, folder or recording."""

import csv
import unicodedata
from pathlib import Path

from genreast.duplicates import connected
from genreast.errors import UserError
from genreast.songs import as_unicode

COMPILATIONS = ("various artists", "various", "va", "v.a.")


def group_key(path: str, tags: dict[str, str], group_by: str, table: dict[str, str]) -> str | None:
    """The group that a song asks for, or None where it names none: then it is its own group.

    A folder counts only below the genre's: the genre's own folder would hold all its songs.
    """
    if group_by == "song":
        return None
    if group_by == "folder":
        folder = as_unicode(path.rpartition("/")[0])
        return f"folder {folder}" if "/" in folder else None
    if group_by == "artist":
        artist = _spelling(tags.get("albumartist", ""))
        if artist in ("", *COMPILATIONS):
            artist = _spelling(tags.get("artist", ""))
        return f"artist {artist}" if artist else None
    if group_by == "album":
        if "album" not in tags:
            return None
        return f"album {_spelling(tags['album'])} / {_spelling(tags.get('albumartist', ''))}"
    group = table.get(normalised(path))
    return f"group {group}" if group else None


def without_group(group_by: str) -> str:
    """What is to be said of songs whose `group_key` is None, after their number."""
    if group_by == "folder":
        return "lie in no folder below their genre's"
    if group_by.endswith(".csv"):
        return f"have no group in '{group_by}'"
    return f"name no {group_by} in their tags"


def read_group_table(group_by: str) -> dict[str, str]:
    """Path → group from a CSV file with columns `path` (from the raw folder) and `group`.

    Raises UserError when it cannot be read, lacks a column, or gives one song two groups.
    """
    if not group_by.endswith(".csv"):
        return {}
    table: dict[str, str] = {}
    try:
        with open(group_by, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            if not {"path", "group"} <= set(reader.fieldnames or ()):
                raise UserError(
                    f"--group_by '{group_by}' has the columns {reader.fieldnames};"
                    " expected 'path' (from RAW_DIR on) and 'group', with commas between"
                )
            for row in reader:
                path = normalised(Path(row["path"].strip()).as_posix())
                group = row["group"].strip()
                if table.setdefault(path, group) != group:
                    raise UserError(
                        f"--group_by '{group_by}' puts '{path}' in two groups, '{table[path]}' and"
                        f" '{group}' (line {reader.line_num}); expected one"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--group_by '{group_by}' cannot be read: {error}") from error
    return table


def normalised(path: str) -> str:
    """A path in one Unicode form, as tables and file systems may not agree on."""
    return unicodedata.normalize("NFC", path)


def joined_groups(
    song_ids: list[str], keys: list[str | None], links: list[tuple[int, int]]
) -> list[str]:
    """Each song's group, where equal keys and links between songs (by place) both join them.

    A group is named by its key, or by its first song where it has none.
    """
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, at), at) for at, key in enumerate(keys) if key is not None]
    roots = connected(len(song_ids), [*pairs, *links])
    names: dict[int, str] = {}
    for at, root in enumerate(roots):
        if keys[at] is not None and (root not in names or keys[at] < names[root]):
            names[root] = keys[at]
    return [names.get(root, song_ids[root]) for root in roots]


def _spelling(name: str) -> str:
    """A name without differences of case, spacing and Unicode form."""
    name = name.encode(errors="replace").decode()  # broken tags hold halves of characters
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())

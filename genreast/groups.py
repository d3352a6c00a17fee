"""What must not stand in two splits: songs of one artist, album, folder or recording."""

from genreast.duplicates import connected
from genreast.songs import as_unicode
from genreast.tables import normalised
from genreast.tags import spelling

COMPILATIONS = ("various artists", "various", "va", "v.a.")


def group_key(
    path: str,
    tags: dict[str, str],
    group_by: str,
    table: dict[str, str],
    genre_folders: bool = True,
) -> str | None:
    """The group that a song asks for, or None where it names none: then it is its own group.

    Where the first folders are the genres', one counts only below them: a genre's own folder would
    hold all its songs.
    """
    if group_by == "song":
        return None
    if group_by == "folder":
        folder = as_unicode(path.rpartition("/")[0])
        return f"folder {folder}" if folder.count("/") >= genre_folders and folder else None
    if group_by == "artist":
        artist = spelling(tags.get("albumartist", ""))
        if artist in ("", *COMPILATIONS):
            artist = spelling(tags.get("artist", ""))
        return f"artist {artist}" if artist else None
    if group_by == "album":
        if "album" not in tags:
            return None
        return f"album {spelling(tags['album'])} / {spelling(tags.get('albumartist', ''))}"
    group = table.get(normalised(path))
    return f"group {group}" if group else None


def without_group(group_by: str, genre_folders: bool = True) -> str:
    """What is to be said of songs whose `group_key` is None, after their number."""
    if group_by == "folder":
        return "lie in no folder below their genre's" if genre_folders else "lie in no folder"
    if group_by.endswith(".csv"):
        return f"have no group in '{group_by}'"
    return f"name no {group_by} in their tags"


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

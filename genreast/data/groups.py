"""What must not stand in two splits: songs of one artist, album, folder or recording."""

import re
from collections.abc import Sequence

from genreast.data.duplicates import connected
from genreast.data.songs import as_unicode
from genreast.data.tags import spelling
from genreast.tables import is_table, normalised

NO_ARTIST = {  # what stands where an artist would, in the languages that taggers offer it in
    *("various artists", "various", "va", "v.a.", "v/a", "varios artistas", "vários artistas"),
    *("artistes divers", "artisti vari", "verschiedene interpreten", "verschiedene"),
    *("diverse artiesten", "unknown artist", "unknown", "[unknown]"),
}
GUESTS = re.compile(r"\s[(\[]?(feat|ft|featuring)\b.*")


def group_keys(
    path: str,
    tags: dict[str, list[str]],
    group_by: str,
    table: dict[str, str],
    genre_folders: bool = True,
) -> list[str]:
    """The groups that a song asks for, which it joins; it is its own where it names none.

    Every artist that the tags name counts, and the album's, but no guest after "feat.". An album
    is one of an artist, or of a folder where the tags name no artist of the whole album. Where the
    first folders are the genres', a folder counts only below them: a genre's own would hold all
    its songs.
    """
    if group_by == "song":
        return []
    folder = as_unicode(path.rpartition("/")[0])
    folders = [folder] if folder and folder.count("/") >= genre_folders else []
    if group_by == "folder":
        return [f"folder {folder}" for folder in folders]
    if group_by in ("artist", "album"):
        artists, of_album = (_artists(tags.get(key, [])) for key in ("artist", "albumartist"))
        if group_by == "artist":
            return [f"artist {name}" for name in {**artists, **of_album}]
        places = of_album or [*artists, *folders] or [""]
        return [f"album {spelling(name)} / {at}" for name in tags.get("album", []) for at in places]
    group = table.get(normalised(path))
    return [f"group {group}"] if group else []


def _artists(names: list[str]) -> dict[str, None]:
    """Artists in one spelling and without their guests, each once, in order."""
    spelt = (GUESTS.sub("", spelling(name)) for name in names)
    return dict.fromkeys(name for name in spelt if name not in NO_ARTIST)


def why_without_group(group_by: str, genre_folders: bool = True) -> str:
    """What is to be said of songs that no key puts in a group, after their number."""
    if group_by == "folder":
        return "lie in no folder below their genre's" if genre_folders else "lie in no folder"
    if is_table(group_by):
        return f"have no group in '{group_by}'"
    return f"name no {group_by} in their tags"


def joined_groups(
    song_ids: list[str], keys: list[Sequence[str]], links: list[tuple[int, int]]
) -> list[str]:
    """Each song's group, where equal keys and links between songs (by place) both join them.

    A group is named by the first of its keys, or by its first song where it has none.
    """
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, at), at) for at, own in enumerate(keys) for key in own]
    roots = connected(len(song_ids), [*pairs, *links])
    names: dict[int, str] = {}
    for key, at in first.items():
        names[roots[at]] = min(key, names.get(roots[at], key))
    return [names.get(root, song_ids[root]) for root in roots]

"""Tags of a song file: artist, album artist and album, whatever the container."""

from pathlib import Path

import mutagen

TAGS = ("artist", "albumartist", "album")


def read_tags(path: Path) -> dict[str, str]:
    """The tags that a file has, of artist, albumartist and album; none where it cannot be read."""
    try:
        tags = mutagen.File(path, easy=True)
    except Exception:  # a broken file: mutagen lets errors of many kinds through
        return {}
    found = {}
    for name in TAGS:
        try:
            values = tags.get(name) if tags else None
        except (KeyError, ValueError):  # not a tag of this container
            continue
        if values and str(values[0]).strip():
            found[name] = str(values[0]).strip()
    return found

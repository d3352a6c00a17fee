"""Tags of a song file: artist, album artist and album, whatever the container."""

from pathlib import Path

import mutagen

# What containers call each: Vorbis and MP4, APE, ID3 in wav and aiff, ASF (wma).
KEYS = {
    "artist": ("artist", "TPE1", "Author"),
    "albumartist": ("albumartist", "album artist", "TPE2", "WM/AlbumArtist"),
    "album": ("album", "TALB", "WM/AlbumTitle"),
}


def read_tags(path: Path) -> dict[str, str]:
    """The tags that a file has, of artist, albumartist and album; none where it cannot be read."""
    try:
        tags = mutagen.File(path, easy=True)
    except Exception:  # a broken file: mutagen lets errors of many kinds through
        return {}
    texts = {name: _first_text(tags, keys) for name, keys in KEYS.items()} if tags else {}
    return {name: text for name, text in texts.items() if text}


def _first_text(tags: mutagen.FileType, keys: tuple[str, ...]) -> str:
    for key in keys:
        try:
            values = tags.get(key)
        except (KeyError, ValueError):  # not a tag of this container
            continue
        values = getattr(values, "text", values)  # an ID3 frame
        if values and str(values[0]).strip():
            return str(values[0]).strip()
    return ""

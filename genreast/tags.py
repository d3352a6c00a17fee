"""Tags of a song file: artist, album artist, album and genre, whatever the container."""

import unicodedata
from pathlib import Path

import mutagen

# What containers call each: Vorbis and MP4, APE, ID3 in wav and aiff, ASF (wma).
KEYS = {
    "artist": ("artist", "TPE1", "Author"),
    "albumartist": ("albumartist", "album artist", "TPE2", "WM/AlbumArtist"),
    "album": ("album", "TALB", "WM/AlbumTitle"),
}
GENRE = ("genre", "TCON", "WM/Genre")


def read_tags(path: Path) -> dict[str, str]:
    """The tags that a file has, of artist, albumartist and album; none where it cannot be read."""
    tags = _tags(path)
    texts = {name: _first_text(tags, keys) for name, keys in KEYS.items()} if tags else {}
    return {name: text for name, text in texts.items() if text}


def read_genre(path: Path) -> str:
    """The first genre that a file's tags name; empty where there is none.

    Taggers write many into one text with semicolons. Slashes and commas stay: genres have them,
    as "Hip-Hop/Rap" does.
    """
    tags = _tags(path)
    genres = _first_text(tags, GENRE).split(";") if tags else []
    return next(filter(None, map(str.strip, genres)), "")


def spelling(name: str) -> str:
    """A name without differences of case, spacing and Unicode form."""
    name = name.encode(errors="replace").decode()  # broken tags hold halves of characters
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _tags(path: Path) -> mutagen.FileType | None:
    try:
        return mutagen.File(path, easy=True)
    except Exception:  # a broken file: mutagen lets errors of many kinds through
        return None


def _first_text(tags: mutagen.FileType, keys: tuple[str, ...]) -> str:
    for key in keys:
        try:
            values = tags.get(key)
        except (KeyError, ValueError):  # not a tag of this container
            continue
        # An ID3 frame has its text, and one of genres, which may be numbers, their names.
        values = getattr(values, "genres", getattr(values, "text", values))
        if values and str(values[0]).strip():
            return str(values[0]).strip()
    return ""

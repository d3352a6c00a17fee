"""Tags of a song file: artists, album and genre, whatever the container."""

import json
import subprocess
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import mutagen
import soundfile
from mutagen.apev2 import APEv2

# What containers call each: Vorbis and MP4, APE, ID3 in wav and aiff, ASF (wma), FFmpeg.
KEYS = {
    "artist": ("artist", "TPE1", "Author"),
    "albumartist": ("albumartist", "album artist", "TPE2", "WM/AlbumArtist", "album_artist"),
    "album": ("album", "TALB", "WM/AlbumTitle"),
    "genre": ("genre", "TCON", "WM/Genre"),
}
# Have tags of their own, which mutagen does not read: but libsndfile, or FFmpeg, in 100 ms.
INFO = (".wav", ".wave", ".bwf", ".rf64")
PROBED = (".mka", ".mkv", ".webm", ".mov", ".3gp", ".tta", ".caf", ".au", ".snd")
PATIENCE = 10  # seconds that FFmpeg may take to show tags


def read_tags(path: Path) -> dict[str, list[str]]:
    """What a file's tags name as artist, albumartist, album and genre: the texts of each in their
    order. What the tags do not name is left out, and so is all of a file that cannot be read."""
    names: dict[str, list[str]] = {}
    for read in (_tags, _ape, _info, _probed):  # the first that names one is heard
        tags = read(path)
        for name, keys in KEYS.items():
            names[name] = names.get(name) or _split(_texts(tags, keys), name)
    return {name: texts for name, texts in names.items() if texts}


def read_genre(path: Path) -> str:
    """The first genre that a file's tags name; empty where there is none."""
    return read_tags(path).get("genre", [""])[0]


def spelling(name: str) -> str:
    """A name without differences of case, spacing and Unicode form."""
    name = name.encode(errors="replace").decode()  # broken tags hold halves of characters
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _tags(path: Path) -> Mapping:
    try:
        tags = mutagen.File(path, easy=True)
    except Exception:  # a broken file: mutagen lets errors of many kinds through
        return {}
    return tags or {}


def _ape(path: Path) -> Mapping:
    """APE tags, which some players give an MP3 in the place of ID3, where mutagen looks alone."""
    if path.suffix.lower() != ".mp3":
        return {}
    try:
        return APEv2(path)
    except Exception:  # none, or broken ones
        return {}


def _texts(tags: Mapping, keys: tuple[str, ...]) -> list[str]:
    for key in keys:
        try:
            values = tags.get(key)
        except (KeyError, ValueError):  # not a tag of this container
            continue
        # An ID3 frame has its text, and one of genres, which may be numbers, their names.
        values = getattr(values, "genres", getattr(values, "text", values))
        if values:
            return [str(value) for value in values]
    return []


def _info(path: Path) -> dict[str, list[str]]:
    if path.suffix.lower() not in INFO:
        return {}
    try:
        # By its number: soundfile takes no name that is not Unicode.
        with open(path, "rb") as disk, soundfile.SoundFile(disk.fileno(), closefd=False) as file:
            texts = file.copy_metadata()
    except (soundfile.SoundFileError, OSError):
        return {}
    return {name: [text] for name, text in texts.items()}


def _probed(path: Path) -> dict[str, list[str]]:
    if path.suffix.lower() not in PROBED:
        return {}
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", "format_tags"]
    try:
        shown = subprocess.run([*command, f"file:{path}"], capture_output=True, timeout=PATIENCE)
        tags = json.loads(shown.stdout).get("format", {}).get("tags", {})
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {name.lower(): [text] for name, text in tags.items()}


def _split(texts: list[str], name: str) -> list[str]:
    """The names in a tag's texts, each on one line.

    Taggers write several into one text with semicolons. Slashes and commas stay: "Hip-Hop/Rap" is
    one genre, "Earth, Wind & Fire" one artist, and an album's semicolons are its own.
    """
    parts = texts if name == "album" else [part for text in texts for part in text.split(";")]
    return [line for part in parts if (line := " ".join(part.split()))]

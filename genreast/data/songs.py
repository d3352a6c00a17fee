"""Find the songs: every file below a folder, at any depth, and why one is no song."""

import fnmatch
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from genreast.errors import UserError

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".w64", ".rf64", ".bwf", ".caf", ".flac", ".ogg", ".oga", ".opus", ".spx"),
    *(".mp3", ".mp2", ".mp1", ".mpga", ".m4a", ".m4b", ".m4r", ".aac", ".ac3", ".eac3", ".dts"),
    *(".wma", ".aif", ".aiff", ".aifc", ".au", ".snd", ".amr", ".3gp", ".mp4", ".mov", ".mkv"),
    *(".mka", ".webm", ".wv", ".ape", ".mpc", ".tta", ".tak", ".shn", ".dsf", ".dff"),
)
# Words by which `datasets` takes a file or folder for a split (datasets issues #5021 and #8238).
SPLIT_WORDS = "train training validation valid dev val test testing eval evaluation"
SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_WORDS.split())})(?![a-z])")
LONGEST_FOLDER = 100  # characters of a genre's folder
NO_ENTRY, NO_FILE = "a folder that may not be read", "a pipe or a device, no file"
JUNK = (".DS_Store", "._*", "Thumbs.db", "desktop.ini")  # what looking into a folder leaves there


@dataclass(frozen=True)
class SongFile:
    """One file of the raw folder. `reason` says why it is no song; empty for one to decode."""

    path: str  # relative to the raw folder, with forward slashes
    genre: str = ""
    status: str = ""
    reason: str = ""
    split: str = ""  # where a table gives it one

    @property
    def song_id(self) -> str:
        """A safe, readable name that depends on the path alone, so it never changes later."""
        path = unicodedata.normalize("NFC", self.path)
        digest = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()
        return f"{slug(Path(path).stem)[:40].rstrip('-') or 'song'}-{digest[:10]}"


def slug(name: str) -> str:
    """A name of small letters, digits and dashes that no file system and no library misreads."""
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "-", text).strip("-")
    return SPLIT_WORD.sub(r"\1x", text)


def genre_folders(genres: list[str]) -> list[str]:
    """A folder name for each genre, unique even where only case or accents tell two apart."""
    # A tag or a table may hold a whole sentence; a folder's name takes 255 bytes.
    slugs = [slug(slug(genre)[:LONGEST_FOLDER]) or "genre" for genre in genres]
    names = [
        name if slugs.count(name) == 1 else f"{name}-{label}" for label, name in enumerate(slugs)
    ]
    if len(set(names)) < len(names):  # "a", "A" and "a-1"
        names = [f"{name}-{label}" for label, name in enumerate(slugs)]
    return names


def find_files(raw_dir: str | Path) -> list[SongFile]:
    """Every file under `raw_dir`, sorted by path; links are followed, but never back into a folder
    above. Raises UserError when `raw_dir` is no folder.
    """
    root = Path(raw_dir)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"RAW_DIR '{raw_dir}' {what}; expected a folder of songs")
    files = [_file(path, fault) for path, fault in _walk(root, "", frozenset())]
    return sorted(files, key=lambda file: file.path)


def told_apart(files: list[SongFile]) -> list[SongFile]:
    """Files whose names differ only in how Unicode spells them share an id: one of them is kept."""
    paths: dict[str, str] = {}
    result = []
    for file in files:
        if not file.status and (other := paths.setdefault(file.song_id, file.path)) != file.path:
            reason = f"named as '{other}' is, in another Unicode form; rename one"
            file = replace(file, status="unreadable", reason=reason)
        result.append(file)
    return result


def as_unicode(name: str) -> str:
    """A name that every file format takes: composed letters, and bytes that are none as `\\xe9`."""
    name = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return unicodedata.normalize("NFC", name)


def _walk(root: Path, folder: str, above: frozenset) -> Iterator[tuple[str, str]]:
    """(path, why it cannot be read) of all that lies in a folder, named from the root on; empty for
    a file.
    """
    try:
        status = os.stat(root / folder)
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError:
        if not folder:
            raise
        yield folder, NO_ENTRY
        return
    here = above | {(status.st_dev, status.st_ino)}
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        try:
            is_dir, target = entry.is_dir(), entry.stat()
        except OSError:
            if entry.is_symlink():
                yield path, "a link to nothing, or to what may not be read"
            else:
                is_folder = entry.is_dir(follow_symlinks=False)
                yield path, NO_ENTRY if is_folder else "in a folder that may not be entered"
            continue
        if not is_dir:
            yield path, "" if entry.is_file() else NO_FILE
        elif (target.st_dev, target.st_ino) not in here:
            yield from _walk(root, path, here)


def _file(path: str, fault: str) -> SongFile:
    *folders, name = path.split("/")
    if is_hidden(name) or any(map(is_hidden, folders)):
        where = "a hidden file" if is_hidden(name) else "in a hidden folder"
        return SongFile(path, status="not_audio", reason=where)
    if fault == NO_ENTRY:
        return SongFile(path, status="unreadable", reason=fault)
    if Path(name).suffix.lower() not in AUDIO_SUFFIXES:
        suffix = Path(name).suffix
        reason = f"'{suffix}' is no ending of sounds known here" if suffix else "no ending"
        return SongFile(path, status="not_audio", reason=reason)
    if fault == NO_FILE:
        return SongFile(path, status="not_audio", reason=fault)
    return SongFile(path, status="unreadable" if fault else "", reason=fault)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no one's song; `.38 Special` is a band's."""
    return bool(re.match(r"\.[A-Za-z_@]", name)) or name == "__MACOSX"


def is_junk(name: str) -> bool:
    """Whether a system leaves files of this name in folders that people look into."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in JUNK)

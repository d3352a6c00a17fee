"""Find the songs: a folder of genre folders → the genres in their order and every file in them.

A genre is a folder right under the raw folder, named `<genre>` or `<index>_<genre>`; the index sets
the label's place. Songs may lie at any depth below it.
"""

import fnmatch
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genreast.errors import UserError

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".w64", ".caf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".m4a"),
    *(".m4b", ".aac", ".wma", ".aif", ".aiff", ".aifc", ".au", ".snd", ".mp4", ".mkv", ".mka"),
    *(".webm", ".wv", ".ape", ".mpc", ".tta", ".ac3", ".amr", ".3gp"),
)
# Words by which `datasets` takes a file or folder for a split (datasets issues #5021 and #8238).
SPLIT_WORDS = "train training validation valid dev val test testing eval evaluation"
SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_WORDS.split())})(?![a-z])")
JUNK = (".DS_Store", "._*", "Thumbs.db", "desktop.ini")  # what looking into a folder leaves there


@dataclass(frozen=True)
class SongFile:
    """One file of the raw folder. `reason` says why it is no song; empty for one to decode."""

    path: str  # relative to the raw folder, with forward slashes
    genre: str = ""
    status: str = ""
    reason: str = ""

    @property
    def song_id(self) -> str:
        """A safe, readable name that depends on the path alone, so it never changes later."""
        path = unicodedata.normalize("NFC", self.path)
        digest = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()
        return f"{slug(Path(path).stem)[:40].rstrip('-') or 'song'}-{digest[:10]}"


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


def slug(name: str) -> str:
    """A name of small letters, digits and dashes that no file system and no library misreads."""
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "-", text).strip("-")
    return SPLIT_WORD.sub(r"\1x", text)


def genre_folders(genres: list[str]) -> list[str]:
    """A folder name for each genre, unique even where only case or accents tell two apart."""
    slugs = [slug(genre) or "genre" for genre in genres]
    names = [
        name if slugs.count(name) == 1 else f"{name}-{label}" for label, name in enumerate(slugs)
    ]
    if len(set(names)) < len(names):  # "a", "A" and "a-1"
        names = [f"{name}-{label}" for label, name in enumerate(slugs)]
    return names


def scan(raw_dir: str | Path) -> Library:
    """Find every file under `raw_dir`, whose first folders are the genres.

    Raises UserError when there are not two genres with songs, or two folders claim one place.
    """
    root = Path(raw_dir)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"RAW_DIR '{raw_dir}' {what}; expected a folder that holds one a genre")
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    folders = [name for name in folders if not is_hidden(name)]
    files = {name: _files_below(root, name) for name in folders}
    genres = _order_genres([name for name in folders if any(not f.status for f in files[name])])
    if len(genres) < 2:
        found = f"only one genre, '{next(iter(genres.values()))}'" if genres else "no song"
        raise UserError(
            f"{found} found in '{raw_dir}'; expected two or more genre folders with songs in them,"
            f" such as {root / '0_jazz'} and {root / '1_rock'}"
        )
    found = [
        SongFile(file.path, genres.get(name, ""), file.status, file.reason)
        for name in folders
        for file in files[name]
    ]
    found += _files_outside(root, folders)
    found = _told_apart(sorted(found, key=lambda file: file.path))
    return Library(root, list(genres.values()), found)


def _told_apart(files: list[SongFile]) -> list[SongFile]:
    """Files whose names differ only in how Unicode spells them share an id: one of them is kept."""
    paths: dict[str, str] = {}
    result = []
    for file in files:
        if not file.status and (other := paths.setdefault(file.song_id, file.path)) != file.path:
            reason = f"named as '{other}' is, in another Unicode form; rename one"
            file = SongFile(file.path, file.genre, "unreadable", reason)
        result.append(file)
    return result


def _order_genres(folders: list[str]) -> dict[str, str]:
    """Folder name → genre, indexed folders by their number first, then the plain ones by name."""
    indexed = {name: re.fullmatch(r"(\d+)_(.*\S.*)", name) for name in folders}
    by_index: dict[int, str] = {}
    for name, match in indexed.items():
        if match and by_index.setdefault(int(match[1]), name) != name:
            raise UserError(
                f"folders '{by_index[int(match[1])]}' and '{name}' have the same index"
                f" {int(match[1])}; give each genre its own"
            )
    order = [by_index[index] for index in sorted(by_index)]
    order += [name for name in folders if not indexed[name]]
    genres: dict[str, str] = {}
    for name in order:
        genre = as_unicode(indexed[name][2] if indexed[name] else name).strip()
        if genre in genres.values():
            raise UserError(f"two folders in the raw folder name the genre '{genre}'; rename one")
        genres[name] = genre
    return genres


def as_unicode(name: str) -> str:
    """A name that every file format takes: composed letters, and bytes that are none as `\\xe9`."""
    name = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return unicodedata.normalize("NFC", name)


def _files_outside(root: Path, folders: list[str]) -> list[SongFile]:
    """The files that no genre holds: loose ones, and those in hidden folders."""
    outside = []
    for entry in root.iterdir():
        if entry.is_dir():
            if entry.name not in folders:
                outside += [
                    SongFile(file.path, status="not_audio", reason="in a hidden folder")
                    for file in _files_below(root, entry.name)
                ]
        elif file := _file(entry.name, entry.is_file()):
            reason = file.reason or "in no genre's folder"
            outside.append(SongFile(file.path, status=file.status or "no_genre", reason=reason))
    return outside


def _files_below(root: Path, folder: str) -> list[SongFile]:
    """Every file under one folder; links are followed, but never back into a folder above."""
    return [_file(path, is_file) for path, is_file in _walk(root, folder, frozenset())]


def _walk(root: Path, folder: str, above: frozenset) -> Iterator[tuple[str, bool]]:
    try:
        status = os.stat(root / folder)
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError:
        yield folder, False  # a folder that may not be read is listed as an unreadable file
        return
    here = above | {(status.st_dev, status.st_ino)}
    for entry in entries:
        path = f"{folder}/{entry.name}"
        try:
            is_dir, target = entry.is_dir(), entry.stat()
        except OSError:
            yield path, False
            continue
        if not is_dir:
            yield path, entry.is_file()
        elif (target.st_dev, target.st_ino) not in here:
            yield from _walk(root, path, here)


def _file(path: str, is_file: bool) -> SongFile:
    name = path.rsplit("/", 1)[-1]
    if is_hidden(name) or any(is_hidden(part) for part in path.split("/")[1:]):
        return SongFile(path, status="not_audio", reason="a hidden file")
    if Path(name).suffix.lower() not in AUDIO_SUFFIXES:
        suffix = Path(name).suffix
        reason = f"the ending '{suffix}' is no sound's" if suffix else "no ending that says sound"
        return SongFile(path, status="not_audio", reason=reason)
    if not is_file:
        reason = "a link to nothing, or no file at all"
        return SongFile(path, status="unreadable", reason=reason)
    return SongFile(path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no one's song."""
    return name.startswith(".") or name == "__MACOSX"


def is_junk(name: str) -> bool:
    """Whether a system leaves files of this name in folders that people look into."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in JUNK)

"""An earlier dataset's songs: which of them are here again, and the split that those had."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from genreast.data.song_table import SongRow, read_songs
from genreast.errors import UserError
from genreast.tables import normalised


@dataclass(frozen=True)
class Earlier:
    """A dataset whose songs keep their split; `is_replaced` is one that --update takes away."""

    folder: Path
    is_replaced: bool
    songs: list[tuple[str, str]]  # path and recording of those in a split
    splits: dict[str, str]  # identity → split

    @classmethod
    def read(cls, folder: Path, is_replaced: bool) -> "Earlier":
        """Raises UserError when there is no dataset of ours."""
        rows = [row for row in read_songs(folder) if row["split"]]
        songs = [(row["path"], row["recording"]) for row in rows]
        splits = {
            key: row["split"]
            for song, row in zip(songs, rows, strict=True)
            for key in _identities(*song)
        }
        return cls(folder, is_replaced, songs, splits)

    def split_of(self, song: SongRow) -> str | None:
        """The split that a song had: its sound in its place decides, then its sound, then its
        place."""
        keys = _identities(song.path, song.recording)
        return next((self.splits[key] for key in keys if key in self.splits), None)

    def has_path(self, path: str) -> bool:
        """Whether a song stood in this place."""
        return f"path {_place(path)}" in self.splits

    def recognise(self, used: Iterable[SongRow]) -> None:
        """Say on standard error how many of the dataset's songs are here again.

        Raises UserError where none is, or where a dataset that is replaced would lose half of its
        songs or more: with them goes all that tells which split they were in.
        """
        here = {key for song in used for key in _identities(song.path, song.recording)}
        gone = [song[0] for song in self.songs if here.isdisjoint(_identities(*song))]
        total, found = len(self.songs), len(self.songs) - len(gone)
        told = f"{found} of {total} songs of '{self.folder}' are here again"
        if gone:
            told += f"; {len(gone)} are not, such as '{gone[0]}'"
        if self.is_replaced and 2 * found <= total:
            keep = ", with --splits_from naming it" if found else ""
            raise UserError(
                f"{told}: --update would lose their splits. If RAW_DIR is whole, move"
                f" '{self.folder}' elsewhere and give the same command again{keep}"
            )
        if not found:
            raise UserError(
                f"{told}: it decides no split. Name the dataset that these songs were in, or leave"
                " --splits_from out"
            )
        print(told, file=sys.stderr)


def _identities(path: str, recording: str) -> tuple[str, str, str]:
    """What a song is known by, the surest first; only where copies were left in are two alike."""
    place = _place(path)
    return f"song {recording} {place}", f"recording {recording}", f"path {place}"


def _place(path: str) -> str:
    """A path that is the same of a file found and of one read from `songs.csv`, in any Unicode
    form."""
    return normalised(path.encode(errors="backslashreplace").decode())

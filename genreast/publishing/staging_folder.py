"""A staging folder: filled aside and moved into place once it is whole, by one run at a time."""

import contextlib
import fnmatch
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from genreast.data.songs import is_junk
from genreast.errors import UserError
from genreast.lock import alone
from genreast.pages import PAGE_FILE, is_sealed


def fill_aside(
    staging_dir: Path,
    patterns: tuple[str, ...],
    fill: Callable[[Path], None],
    mark: str = PAGE_FILE,
) -> None:
    """Fill a folder aside and, once it is whole, move what it holds into the staging folder.

    An earlier staging, told by its file `mark`, is replaced. Raises UserError when other files lie
    there, or its page was edited since, or another run is at it.
    """
    has_page = mark == PAGE_FILE  # an export to ONNX has none, nor a flag for its place
    remedy = "move it away" + (", or name an empty --staging_dir" if has_page else "")
    if staging_dir.exists() and not staging_dir.is_dir():
        raise UserError(f"'{staging_dir}' is a file: {remedy}")
    names = files_in(staging_dir)
    foreign = [name for name in names if not belongs(name, patterns)]
    made_here = staging_dir / mark
    if mark in patterns and names and not foreign:
        if not made_here.is_file():
            foreign = names
        elif has_page and not is_sealed(made_here.read_text(encoding="utf-8", errors="replace")):
            raise UserError(
                f"'{made_here}' was not made here, or edited since: {remedy} (the words of every"
                " page are in model_card.md)"
            )
    if foreign:
        raise UserError(f"'{staging_dir}' holds {foreign[0]}, which no staging made: {remedy}")
    place = staging_dir.resolve()  # "." lies in no parent of its own, nor does a link's folder
    place.parent.mkdir(parents=True, exist_ok=True)
    with _aside(place) as aside:
        fill(aside)
        # The folder itself stays: the user may stand in it. The mark, which tells that it was made
        # here, goes last and comes first, so that a stop in between is mended by staging again.
        place.mkdir(exist_ok=True)
        for entry in sorted(place.iterdir(), key=lambda entry: entry.name == mark):
            remove = shutil.rmtree if entry.is_dir() and not entry.is_symlink() else Path.unlink
            remove(entry)
        for entry in sorted(aside.iterdir(), key=lambda entry: entry.name != mark):
            shutil.move(entry, place / entry.name)


@contextlib.contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """An empty folder beside a place, for one run at a time. Its name is always the same, so that
    what a killed run left there is cleared by the next.
    """
    aside = place.with_name(f".staging-{place.name}")
    with alone(Path(f"{aside}.lock"), f"another run is filling '{place}'; wait for it"):
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def hold(staging_dir: Path) -> Iterator[Path]:
    """Keep a staging folder for one run, until it has uploaded what it filled it with: files that
    another put in their place meanwhile would go out unchecked. Gives the folder.
    """
    place = staging_dir.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    refusal = f"another run is publishing '{place}'; wait for it, or name another --staging_dir"
    with alone(place.with_name(f".publishing-{place.name}.lock"), refusal):
        yield staging_dir


def files_in(folder: Path) -> list[str]:
    """The files of a folder at any depth, as sorted names with slashes; none that are junk."""
    files = (path for path in folder.rglob("*") if path.is_file())
    kept = (path for path in files if not is_junk(path.name))
    return sorted(path.relative_to(folder).as_posix() for path in kept)


def belongs(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file of this name is one of those staged. A star stays within its folder."""
    return any(fnmatch.fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)

"""Splits that a collection or the user gives: their names here, and each song's by a table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from genreast.data.songs import SongFile
from genreast.errors import UserError
from genreast.tables import check_known, normalised, read_table

SPLIT_NAMES = {  # what collections call them: what they are called here
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


def called_here(names: Iterable[str]) -> dict[str, str]:
    """What another's splits are called here; those keep their name of which two would share one,
    and those of which nothing is known."""
    ours = {name: SPLIT_NAMES.get(name.lower(), name) for name in names}
    times = Counter(ours.values())
    return {name: our if times[our] == 1 else name for name, our in ours.items()}


def with_splits(files: list[SongFile], table: str) -> list[SongFile]:
    """Every file with its split from a CSV file with the columns `path` and `split`; songs that
    it gives none are left out.

    Raises UserError when the table cannot be used, or names another split.
    """
    given = read_table(table, "--splits_from", "split")
    check_known(given, "--splits_from", table, [file.path for file in files if not file.status])
    for path, name in given.items():
        if name and name.lower() not in SPLIT_NAMES:
            raise UserError(
                f"--splits_from '{table}' puts '{path}' in the split '{name}'; expected train,"
                " validation or test"
            )

    def placed(file: SongFile) -> SongFile:
        name = given.get(normalised(file.path), "")
        if file.status:
            return file
        if not name:
            return replace(file, status="no_split", reason="no split in the table of splits")
        return replace(file, split=SPLIT_NAMES[name.lower()])

    return [placed(file) for file in files]

"""A user's own table of songs: a CSV file with a path and what is to be known of it."""

import csv
import sys
import unicodedata
from collections.abc import Collection
from pathlib import Path

from genreast.errors import UserError


def is_table(name: str) -> bool:
    """Whether a setting names a table, not one of the ways that have names of their own."""
    return name.lower().endswith(".csv")


def read_table(file: str, flag: str, column: str) -> dict[str, str]:
    """Path → text from a CSV file with the columns `path` (from the raw folder on) and `column`.

    `flag` is what the file was given as. Raises UserError when it cannot be read, lacks a column,
    or says two things of one song.
    """
    table: dict[str, str] = {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            if not {"path", column} <= set(reader.fieldnames or ()):
                raise UserError(
                    f"{flag} '{file}' has the columns {reader.fieldnames};"
                    f" expected 'path' (from RAW_DIR on) and '{column}', with commas between"
                )
            for row in reader:
                if not row["path"].strip():
                    continue
                path = normalised(Path(row["path"].strip()).as_posix())
                text = row[column].strip()
                if table.setdefault(path, text) != text:
                    raise UserError(
                        f"{flag} '{file}' puts '{path}' in two {column}s, '{table[path]}' and"
                        f" '{text}' (line {reader.line_num}); expected one"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise UserError(f"{flag} '{file}' cannot be read: {words}") from error
    return table


def tell_unknown(table: dict[str, str], file: str, songs: Collection[str]) -> None:
    """Say on standard error how many of a table's paths are none of the songs'."""
    if unknown := table.keys() - {normalised(path) for path in songs}:
        print(
            f"{len(unknown)} of {len(table)} paths in '{file}' are no songs of RAW_DIR, such as"
            f" '{min(unknown)}'",
            file=sys.stderr,
        )


def normalised(path: str) -> str:
    """A path in one Unicode form, as tables and file systems may not agree on."""
    return unicodedata.normalize("NFC", path)

"""A user's own table of songs: a CSV file with a path and what is to be known of it."""

import csv
import sys
import unicodedata
from collections.abc import Collection
from pathlib import Path

from genreast.errors import UserError

MOST_COLUMNS = 10  # that a message names: FMA's table has fifty


def is_table(name: str) -> bool:
    """Whether a setting names a table, not one of the ways that have names of their own."""
    return name.lower().endswith((".csv", ".tsv"))


def read_table(file: str, flag: str, column: str) -> dict[str, str]:
    """Path → text from a CSV file with the columns `path` (from the raw folder on) and `column`,
    between commas, semicolons or tabs, and any others.

    `flag` is what the file was given as. Raises UserError when it cannot be read, lacks a column,
    or says two things of one song.
    """
    table: dict[str, str] = {}
    line = 0  # the last that was understood
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
            lines.seek(0)
            # Spreadsheets write semicolons where the comma is the decimal sign.
            delimiter = max(",;\t", key=header.count)
            # Else a quote that is not closed would take in all rows up to the next.
            reader = csv.DictReader(lines, restval="", delimiter=delimiter, strict=True)
            columns = reader.fieldnames or []
            if not {"path", column} <= set(columns):
                named = ", ".join(f"'{name}'" for name in columns[:MOST_COLUMNS]) or "none"
                more = ", …" if len(columns) > MOST_COLUMNS else ""
                raise UserError(
                    f"{flag} '{file}' has the columns {named}{more}; expected 'path' (from RAW_DIR"
                    f" on) and '{column}' in its first line"
                )
            line = reader.line_num
            for row in reader:
                line = reader.line_num
                if not row["path"].strip():
                    continue
                path = normalised(Path(row["path"].strip()).as_posix())
                text = row[column].strip()
                if table.setdefault(path, text) != text:
                    raise UserError(
                        f"{flag} '{file}' puts '{path}' in two {column}s, '{table[path]}' and"
                        f" '{text}' (line {line}); expected one"
                    )
    except csv.Error as error:
        raise UserError(
            f"{flag} '{file}' cannot be read from line {line + 1} on: {error}; expected a text that"
            ' begins with a quote to end with one, and to have its own twice: """Heroes"".mp3"'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or error
        raise UserError(
            f"{flag} '{file}' cannot be read: {words}; expected a CSV file in UTF-8"
        ) from error
    return table


def check_known(table: dict[str, str], flag: str, file: str, songs: Collection[str]) -> None:
    """Say on standard error how many of a table's paths are none of the songs'.

    Raises UserError where all of them are: the table was written for another folder, or system.
    """
    unknown = table.keys() - {normalised(path) for path in songs}
    if songs and len(unknown) == len(table) > 0:
        raise UserError(
            f"{flag} '{file}' names none of the songs, but {len(table)} other paths, such as"
            f" '{min(table)}'; expected paths from RAW_DIR on, such as '{min(songs)}'"
        )
    if unknown:
        print(
            f"{len(unknown)} of {len(table)} paths in '{file}' are no songs of RAW_DIR, such as"
            f" '{min(unknown)}'",
            file=sys.stderr,
        )


def normalised(path: str) -> str:
    """A path in one Unicode form and without spaces around it, as tables and file systems may not
    agree on them."""
    return unicodedata.normalize("NFC", path.strip())

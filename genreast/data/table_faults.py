"""Why a dataset's Parquet file cannot be read, in words that name it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from genreast.errors import UserError, one_line


@contextlib.contextmanager
def table_faults(table: Path) -> Iterator[None]:
    """Turn what Arrow says of a damaged file into a UserError; what the system refuses gets the
    file's name, which Arrow leaves out.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:  # or texts that are no UTF-8
        if isinstance(error, OSError) and error.errno:
            error.filename = error.filename or str(table)
            raise
        raise UserError(
            f"'{table}' cannot be read ({one_line(error, 100)}): prepare the dataset again, or copy"
            " it again"
        ) from error

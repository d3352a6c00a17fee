"""The dataset on disk, read back: an `audiofolder` made here, anyone else's, or one on the Hub.

`metadata.parquet` in each split's folder holds `file_name, label, song_id, group, start`. Its Arrow
schema carries the `ClassLabel`, so plain `load_dataset("audiofolder", data_dir=…)` gives the labels
in the user's order too.
"""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import (
    Audio,
    Dataset,
    DatasetDict,
    Features,
    Value,
    load_dataset,
    load_from_disk,
)

from genreast.data.columns import (
    COLUMNS,
    check_labels,
    conform,
    features_of,
    is_ours,
    label_names,
)
from genreast.data.dataset_refusals import dataset_faults
from genreast.data.given_splits import called_here
from genreast.data.splits import SPLITS
from genreast.data.table_faults import table_faults
from genreast.errors import UserError
from genreast.hub_files import file_of
from genreast.hub_ids import split_revision

METADATA_FILE = "metadata.parquet"
PREPARATION_FILE = "preparation.json"


def load_splits(
    dataset: str | Path,
    audio_column: str = COLUMNS[0],
    label_column: str = COLUMNS[1],
    song_column: str = COLUMNS[2],
    config: str | None = None,
) -> DatasetDict:
    """The splits of a dataset folder or Hub dataset.

    Columns: `audio` (not decoded: a dict with `path`, absolute, or `bytes`), `label` (ClassLabel),
    `song_id`, `group`, `start`. A dataset that names no songs counts each clip as its own song.
    The arguments are what another's dataset calls its columns, and which of its configurations is
    meant.

    Raises UserError when `dataset` is neither, has no labels, or several configurations.
    """
    folder = Path(dataset)
    columns = (audio_column, label_column, song_column)
    if config is None and is_prepared(folder):
        splits = DatasetDict(
            {split: _read_split(folder / split) for split in SPLITS if (folder / split).is_dir()}
        )
        if columns == COLUMNS and all(map(is_ours, splits.values())):
            check_labels(splits)
            return splits
        return conform(splits, dataset, *columns)
    return conform(_load_any(folder, dataset, config), dataset, *columns)


def preparation(dataset: str | Path) -> dict:
    """How a dataset was made, from `preparation.json`; empty where that is not known."""
    try:
        path = file_of(str(dataset), PREPARATION_FILE, "dataset")
    except UserError:  # the Hub is off: nothing hangs on it but a page's sentences
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON ({error}): prepare the dataset again") from error
    ours = (
        isinstance(content, dict)
        and isinstance(content.get("group_by"), str)
        and isinstance(content.get("sha256", {}), dict)  # not published
    )
    return content if ours else {}  # a file of this name may be anybody's


def dataset_fingerprint(splits: DatasetDict) -> str:
    """A sha256 over what a dataset holds: which clips, labels and splits, not where it lies."""
    digest = hashlib.sha256()
    digest.update("\0".join(label_names(splits)).encode())
    for name in sorted(splits):
        rows = splits[name].select_columns(["label", "song_id", "group", "start"])
        digest.update(f"\0{name}\0{len(rows)}".encode())
        for column in rows.with_format("arrow")[:].columns:
            digest.update("\0".join(map(str, column.to_pylist())).encode())
    return digest.hexdigest()


def is_prepared(folder: Path) -> bool:
    """Whether a folder is an audiofolder made here."""
    tables = [folder / split / METADATA_FILE for split in SPLITS]
    names = []
    for table in filter(Path.is_file, tables):
        with table_faults(table), table.open("rb") as file:
            names.append(set(pq.read_schema(file).names))
    return any({"song_id", "label"} <= found for found in names)


def is_foreign(dataset: str) -> bool:
    """Whether a dataset is a folder of sounds here that was not prepared here."""
    folder = Path(dataset)
    known = (is_prepared, _has_shards, _is_saved)
    return folder.is_dir() and not any(is_one(folder) for is_one in known)


def file_names(metadata: pa.Table, source: Path) -> list[str]:
    """Where each clip of a split lies, from the split's folder on; `source` is its table's file.

    Raises UserError where a row does not say.
    """
    column = metadata["file_name"].to_pylist() if "file_name" in metadata.column_names else [None]
    if not all(isinstance(name, str) for name in column):
        raise UserError(f"'{source}' has no file_name in each row: prepare the dataset again")
    return column


def check_outside(output_dir: Path, dataset: str) -> None:
    """Raise UserError for an output folder in a dataset that is a folder of sounds, where its files
    would be taken for more of them."""
    if output_dir.resolve().is_relative_to(Path(dataset).resolve()) and is_foreign(dataset):
        raise UserError(
            f"--output_dir '{output_dir}' lies in the dataset '{dataset}', which could not be read "
            "any more with other files in it; choose another"
        )


def _has_shards(folder: Path) -> bool:
    """Whether a folder, or one in it, holds WebDataset's tars, or Parquet files beside an
    audiofolder's own."""
    shards = (path for pattern in ("*.parquet", "*.tar") for path in folder.rglob(pattern))
    return any(path.name != METADATA_FILE for path in shards)


def _is_saved(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` leaves, of all splits or of one."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _read_split(folder: Path) -> Dataset:
    """One split of a folder made here, straight from its metadata: no copy in a cache."""
    table = folder / METADATA_FILE
    if not table.is_file():
        raise UserError(f"'{table}' is missing: prepare the dataset again")
    with table_faults(table):
        metadata = pq.read_table(table)
    names = file_names(metadata, table)
    features = Features({"audio": Audio(decode=False), **features_of(metadata.schema, table)})
    del features["file_name"]
    label = features.get("label")
    nameless = isinstance(label, Value) and label.dtype.startswith("int")
    if nameless and (folder.parent / PREPARATION_FILE).is_file():
        raise UserError(
            f"'{table}' has lost the names of its genres, which its schema held, as it does in an"
            " edit with pandas: prepare the dataset again"
        )
    root = folder.resolve()
    paths = [{"bytes": None, "path": str(root / name)} for name in names]
    audio = pa.array(paths, features["audio"].pa_type)
    columns = [audio, *metadata.drop_columns("file_name").columns]
    return Dataset(pa.table(columns, schema=features.arrow_schema))


def _load_any(folder: Path, dataset: str | Path, config: str | None) -> DatasetDict:
    """A foreign folder or Hub dataset through `datasets` itself."""
    with dataset_faults(dataset):
        if _is_saved(folder):
            found = load_from_disk(folder)
            splits = found if isinstance(found, DatasetDict) else DatasetDict(train=found)
        elif config or not folder.is_dir() or _has_shards(folder):
            repo_id, revision = split_revision(dataset)
            splits = load_dataset(repo_id, config, revision=revision)
        else:
            splits = load_dataset("audiofolder", data_dir=str(folder))
    return DatasetDict({name: splits[theirs] for theirs, name in called_here(splits).items()})

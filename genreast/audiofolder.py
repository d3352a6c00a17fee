"""The dataset on disk, read back: an `audiofolder` made here, anyone else's, or one on the Hub.

`metadata.parquet` in each split's folder holds `file_name, label, song_id, group, start`. Its Arrow
schema carries the `ClassLabel`, so plain `load_dataset("audiofolder", data_dir=…)` gives the labels
in the user's order too.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    Value,
    load_dataset,
    load_from_disk,
)

from genreast.dataset_refusals import dataset_faults
from genreast.errors import UserError
from genreast.given_splits import called_here
from genreast.hub_files import file_of
from genreast.hub_ids import split_revision
from genreast.splits import SPLITS

METADATA_FILE = "metadata.parquet"
PREPARATION_FILE = "preparation.json"
COLUMNS = ("audio", "label", "song_id")  # as we call them


def clip_columns(names: list[str]) -> Features:
    """What is known of each clip beside its sound; `start` is in seconds of the song."""
    return Features(
        {
            "label": ClassLabel(names=names),
            "song_id": Value("string"),
            "group": Value("string"),
            "start": Value("float64"),
        }
    )


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
        if columns == COLUMNS:
            _check_labels(splits)
            return splits
        return conform(splits, dataset, *columns)
    return conform(_load_any(folder, dataset, config), dataset, *columns)


def conform(
    splits: DatasetDict, dataset: str | Path, audio_column: str, label_column: str, song_column: str
) -> DatasetDict:
    """Another's splits with the columns that `load_splits` promises, and no others."""
    ours = {audio_column: "audio", label_column: "label", song_column: "song_id"}
    for split in splits.values():
        check_columns(split.column_names, audio_column, label_column, song_column, dataset)
    names = next(iter(splits.values())).column_names
    if song_column not in names and os.environ.get("RANK", "0") == "0":
        print(
            f"'{dataset}' has no column {song_column}, but {', '.join(names)}: each clip counts as"
            " a song; if clips share songs, name the column that says so with --song_column",
            file=sys.stderr,
        )
    splits = DatasetDict({key: _rename(split, ours) for key, split in splits.items()})
    splits = _with_class_labels(splits)
    return DatasetDict({key: _with_songs(split) for key, split in splits.items()})


def check_columns(
    names: list[str], audio_column: str, label_column: str, song_column: str, dataset: str | Path
) -> None:
    """Refuse a dataset without the sound, the label or a song's name under the name given."""
    if len({audio_column, label_column, song_column}) < 3:
        raise UserError(
            f"--audio_column {audio_column}, --label_column {label_column} and --song_column"
            f" {song_column} name one column twice; expected three columns"
        )
    if names == ["audio"] and Path(dataset).is_dir():  # what `audiofolder` makes of a single class
        raise UserError(
            f"'{dataset}' tells no genres apart; expected one folder of sounds a genre, two or more"
        )
    for name in (audio_column, label_column, song_column):
        if name not in names and name != "song_id":  # by default a dataset need not name songs
            raise UserError(
                f"'{dataset}' has no column {name}; it has {', '.join(names)}: name "
                "the right ones with --audio_column, --label_column and --song_column"
            )


def label_names(splits: DatasetDict) -> list[str]:
    """The genres, in the order of their label ids."""
    return next(iter(splits.values())).features["label"].names


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
    ours = isinstance(content, dict) and isinstance(content.get("group_by"), str)
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


def clip_names(split: Dataset) -> list[str]:
    """A name for each clip: its path inside the split's common folder, or its row.

    Shards often hold a file's last name alone, which others share: those are told apart by row.
    """
    paths = [row and row["path"] for row in split.select_columns("audio")["audio"]]
    if paths and all(path and os.path.isabs(path) for path in paths):
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
        paths = [os.path.relpath(path, common) for path in paths]
    times = Counter(paths)
    return [
        path if path and times[path] == 1 else f"{path or ''} row {row}".strip()
        for row, path in enumerate(paths)
    ]


def encoded(audio: dict | None) -> str | bytes:
    """A row's sound as `load_audio` takes it: its bytes, else its path, or b"" of a row without."""
    if audio is None:
        return b""
    return (audio["path"] or b"") if audio["bytes"] is None else audio["bytes"]


def names_songs(splits: DatasetDict) -> bool:
    """Whether songs have names of their own: where a dataset names none, clips' stand for them."""
    for split in splits.values():
        ids = split["song_id"][:]
        if len(set(ids)) < len(ids) or ids != clip_names(split):
            return True
    return False


def is_prepared(folder: Path) -> bool:
    """Whether a folder is an audiofolder made here."""
    tables = [folder / split / METADATA_FILE for split in SPLITS]
    try:
        names = [set(pq.read_schema(table).names) for table in tables if table.is_file()]
    except pa.ArrowInvalid as error:
        raise UserError(
            f"a {METADATA_FILE} of '{folder}' cannot be read ({str(error).strip()}): prepare the"
            " dataset again"
        ) from error
    return any({"song_id", "label"} <= found for found in names)


def is_foreign(dataset: str) -> bool:
    """Whether a dataset is a folder of sounds here that was not prepared here."""
    folder = Path(dataset)
    known = (is_prepared, _has_shards, _is_saved)
    return folder.is_dir() and not any(is_one(folder) for is_one in known)


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
    metadata = pq.read_table(table)
    features = Features.from_arrow_schema(metadata.schema)
    features = Features({"audio": Audio(decode=False), **features})
    del features["file_name"]
    root = folder.resolve()
    paths = [
        {"bytes": None, "path": str(root / name)} for name in metadata["file_name"].to_pylist()
    ]
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


def _rename(split: Dataset, ours: dict[str, str]) -> Dataset:
    """A foreign split with its columns called as here."""
    for theirs, name in ours.items():
        if theirs in split.column_names:
            if theirs != name and name in split.column_names:
                split = split.remove_columns(name)
            split = split.rename_column(theirs, name) if theirs != name else split
    feature = split.features["audio"]
    with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError):
        if not isinstance(feature, Image):  # pictures, as of spectrograms, are stored as sound is
            return split.cast_column("audio", Audio(decode=False))
    column = next(theirs for theirs, name in ours.items() if name == "audio")
    raise UserError(
        f"column {column} holds {feature}, no sound; name another one with --audio_column"
    )


def _with_class_labels(splits: DatasetDict) -> DatasetDict:
    """Labels that are text or numbers made a ClassLabel, one and the same for all splits."""
    _check_labels(splits)
    if all(isinstance(split.features["label"], ClassLabel) for split in splits.values()):
        return splits
    found = {label for split in splits.values() for label in split.unique("label")}
    numbers = all(isinstance(label, int | float) for label in found)
    found = sorted(found, key=None if numbers else str)
    feature = ClassLabel(names=list(dict.fromkeys(map(str, found))))

    def encode(split: Dataset) -> Dataset:
        ids = [feature.str2int(str(label)) for label in split["label"]]
        split = split.add_column("label_id", ids).remove_columns("label")
        return split.rename_column("label_id", "label").cast_column("label", feature)

    return DatasetDict({key: encode(split) for key, split in splits.items()})


def _check_labels(splits: DatasetDict) -> None:
    """Raise UserError where a row has no label, or more than one."""
    for name, split in splits.items():
        feature, labels = split.features["label"], split.data.column("label")
        if not isinstance(feature, ClassLabel | Value):
            raise UserError(
                f"the label of a row of the {name} split is {feature};"
                " expected one genre, as text or a number: make a column of one with the map() of"
                " datasets, save_to_disk(), and name that folder as --dataset"
            )
        missing = labels.null_count
        if isinstance(feature, ClassLabel):  # whose -1 means "no label"
            named = pc.and_(pc.greater_equal(labels, 0), pc.less(labels, feature.num_classes))
            missing = len(split) - (pc.sum(named).as_py() or 0)
        if missing:
            raise UserError(
                f"{missing} of {len(split)} rows of the {name} split have no label:"
                " leave them out, or label them"
            )


def _with_one_label(split: Dataset) -> Dataset:
    """A song whose clips have several labels made as many songs, of one group: what is asked of a
    song is its one genre."""
    columns = split.select_columns(["song_id", "label"]).with_format("arrow")[:]
    labels = columns.group_by("song_id").aggregate([("label", "count_distinct")])
    several = set(labels.filter(pc.field("label_count_distinct") > 1)["song_id"].to_pylist())
    if not several:
        return split
    print(
        f"songs with clips of several genres: {len(several)}, such as '{min(several)}'; each counts"
        " as one song a genre",
        file=sys.stderr,
    )
    genre = split.features["label"].int2str
    ids = [
        f"{song} ({genre(label)})" if song in several else song
        for song, label in zip(split["song_id"], split["label"], strict=True)
    ]
    return split.remove_columns("song_id").add_column("song_id", ids)


def _named(split: Dataset, column: str, instead: Callable[[Dataset], list[str]]) -> Dataset:
    """A split whose rows all have a name in a column, as text; a row without one is its own."""
    if column not in split.column_names:
        return split.add_column(column, instead(split))
    if split.data.column(column).null_count:
        pairs = zip(split[column], instead(split), strict=True)
        names = [name if own is None else str(own) for own, name in pairs]
        return split.remove_columns(column).add_column(column, names)
    if split.features[column] != Value("string"):  # a cast copies every row
        return split.cast_column(column, Value("string"))
    return split


def _with_songs(split: Dataset) -> Dataset:
    """A foreign split with this project's columns, and no others."""
    split = _named(split, "song_id", clip_names)
    split = _named(split, "group", lambda split: split["song_id"][:])
    split = _with_one_label(split)
    if "start" not in split.column_names:
        split = split.add_column("start", [0.0] * len(split))
    return split.select_columns(["audio", "label", "song_id", "group", "start"])

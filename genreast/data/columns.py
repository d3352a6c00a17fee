"""The columns of a split: what they are here, and another's made so."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, Value

from genreast.errors import UserError, one_line

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


def features_of(schema: pa.Schema, source: Path) -> Features:
    """What the columns of a Parquet file hold, by the metadata of its schema where it has any.

    Raises UserError where they are damaged; `source` is the file, or the folder that it lies in.
    """
    try:
        return Features.from_arrow_schema(schema)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # each for other bytes
        raise UserError(
            f"what '{source}' says of its columns is damaged ({one_line(error, 100)}): prepare the"
            " dataset again, or copy it again"
        ) from error


def is_ours(split: Dataset) -> bool:
    """Whether a split has the columns of one made here, and names the genres of its labels."""
    features = split.features
    return isinstance(features.get("label"), ClassLabel) and features.keys() >= {
        "song_id",
        "group",
        "start",
    }


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
    check_labels(splits)
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


def check_labels(splits: DatasetDict) -> None:
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

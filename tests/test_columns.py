"""The columns of a split: another's made ours, and rows that cannot be are told."""

import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import sounds
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, List, Value

from genreast.data.audiofolder import METADATA_FILE, PREPARATION_FILE, load_splits
from genreast.data.columns import label_names
from genreast.errors import UserError
from genreast.publishing.hub_dataset import check_dataset_dir
from genreast.training.held_out import with_validation


def labelled(folder, **labels: list) -> DatasetDict:
    """The splits of shards with these labels, as they are read."""
    for split, found in labels.items():
        rows = [{"audio": {"bytes": b"sound", "path": None}, "label": label} for label in found]
        Dataset.from_list(rows).to_parquet(folder / f"{split}-0.parquet")
    return load_splits(folder)


def test_a_row_that_names_no_song_is_one(tmp_path):
    sound = {"bytes": b"", "path": None}
    rows = [{"audio": sound, "label": "jazz", "track": track} for track in (7, None, None, 7)]
    Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    (songs,) = (split["song_id"] for split in load_splits(tmp_path, song_column="track").values())
    assert songs == ["7", "row 1", "row 2", "7"]


@pytest.mark.parametrize("names", [["A", None, None, "A"], [1, None, None, 1], [1, 2, 3, 1]])
def test_rows_of_one_group_are_held_out_together_and_those_of_none_alone(tmp_path, names):
    rows = {"label": ["jazz", "jazz", "jazz", "rock"] * 5, "group": names * 5}
    rows["audio"] = [{"bytes": b"", "path": None}] * 20
    Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    (whole,) = load_splits(tmp_path).values()
    assert whole["group"][0] == whole["group"][3] == str(names[0])
    splits = with_validation(DatasetDict(train=whole), seed=0)
    assert not set(splits["train"]["group"]) & set(splits["validation"]["group"])


def test_labels_are_the_same_in_every_split(tmp_path):
    splits = labelled(tmp_path, train=["b", "c", "b"], test=["c", "a"])
    assert splits["train"]["label"][:] == [1, 2, 1] and splits["test"]["label"][:] == [2, 0]


@pytest.mark.parametrize("kind", [int, float])
def test_numbers_for_labels_stand_in_their_order(kind, tmp_path):
    splits = labelled(tmp_path, train=list(map(kind, range(11, -1, -1))))
    assert label_names(splits) == [str(kind(label)) for label in range(12)]
    assert splits["train"]["label"][:] == list(range(11, -1, -1))


@pytest.mark.parametrize(
    ("labels", "feature", "words"),
    [
        (["b", None, "c"], Value("string"), "1 of 3 rows of the train split have no label"),
        ([0, -1, -1], ClassLabel(names=["b", "c"]), "2 of 3 rows of the train split have no label"),
        ([0, None, -1], ClassLabel(names=["b", "c"]), "2 of 3 rows .* have no label"),
        ([["a"], ["b", "c"], []], List(Value("string")), r"expected one genre.* map\(\) of"),
    ],
)
def test_a_row_without_a_label_is_no_genre(tmp_path, labels, feature, words):
    features = Features({"audio": Audio(), "label": feature})
    rows = {"audio": [{"bytes": b"sound", "path": None}] * 3, "label": labels}
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match=words):
        load_splits(tmp_path)


def test_pictures_of_sound_are_no_sound(tmp_path):
    """As of ccmusic-database/music_genre, whose rows are spectrograms."""
    rows = {"mel": [{"bytes": b"\xff\xd8", "path": "mel.jpg"}] * 2, "label": ["Classic", "Pop"]}
    features = Features({"mel": Image(), "label": Value("string")})
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "train-0.parquet")
    with pytest.raises(UserError, match=r"column mel holds Image.*, no sound; name another"):
        load_splits(tmp_path, "mel")


def test_files_of_one_name_are_not_one_song(tmp_path):
    sounds(["blues", "blues", "rock", "rock"]).to_parquet(tmp_path / "train-0.parquet")
    songs = load_splits(tmp_path)["train"]["song_id"]
    assert songs[:] == ["00.wav row 0", "01.wav row 1", "00.wav row 2", "01.wav row 3"]


def test_a_song_of_two_genres_is_two_songs_of_one_group(tmp_path, capsys):
    clips = sounds(["blues", "rock", "rock", "rock"], song_id=["x", "x", "y", "y"])
    clips.to_parquet(tmp_path / "train-0.parquet")
    train = load_splits(tmp_path)["train"]
    assert train["song_id"][:] == ["x (blues)", "x (rock)", "y", "y"]
    assert train["group"][:] == ["x", "x", "y", "y"]
    assert "songs with clips of several genres: 1, such as 'x'" in capsys.readouterr().err


def test_an_edited_table_is_checked_too(genre_dataset, tmp_path):
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "validation" / METADATA_FILE
    table = pq.read_table(path)
    labels = table.column("label").to_numpy().copy()
    labels[0], labels[1] = -1, 99
    column = table.schema.get_field_index("label")
    pq.write_table(table.set_column(column, table.schema.field(column), [labels]), path)
    with pytest.raises(UserError, match=r"2 of \d+ rows of the validation split have no label"):
        load_splits(folder)


@pytest.mark.parametrize(
    "found, put", [(b'"dtype"', b'"dtypf"'), (b'"label": {', b'"label": 5, {')]
)
def test_a_table_whose_columns_are_damaged_is_named(genre_dataset, tmp_path, found, put):
    """A disk has changed a byte of the JSON in its schema, which Parquet does not see."""
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "validation" / METADATA_FILE
    table = pq.read_table(path)
    written = table.schema.metadata[b"huggingface"].replace(found, put)
    pq.write_table(table.replace_schema_metadata({"huggingface": written}), path)
    for read in (load_splits, check_dataset_dir):
        with pytest.raises(UserError, match=f"what '{path}' says of its columns is damaged"):
            read(folder)


@pytest.mark.parametrize("names", [None, [None] * 14, [3] * 14])
def test_a_table_that_names_no_files_is_told(genre_dataset, tmp_path, names):
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "validation" / METADATA_FILE
    table = pq.read_table(path)
    at = table.schema.get_field_index("file_name")
    table = table.set_column(at, "file_name", [names]) if names else table.remove_column(at)
    pq.write_table(table, path)
    for read in (load_splits, check_dataset_dir):
        with pytest.raises(UserError, match=f"'{path}' has no file_name in each row"):
            read(folder)


def test_a_split_without_labels_is_told(genre_dataset, tmp_path):
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "validation" / METADATA_FILE
    pq.write_table(pq.read_table(path).drop_columns("label"), path)
    with pytest.raises(UserError, match=r"no column .*label"):
        load_splits(folder)
    with pytest.raises(UserError, match="no column label"):
        check_dataset_dir(folder)


def test_clips_of_a_split_that_names_no_songs_are_songs_of_their_own(
    genre_dataset, tmp_path, capfd
):
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "train" / METADATA_FILE
    pq.write_table(pq.read_table(path).drop_columns("song_id"), path)
    songs = load_splits(folder)["train"]["song_id"]
    assert len(set(songs)) == len(songs)
    assert "has no column song_id" in capfd.readouterr().err


@pytest.mark.parametrize("place", [0.01, 0.3, 0.8, 0.9])
def test_a_table_that_a_disk_has_changed_is_named(genre_dataset, tmp_path, place):
    """Arrow has errors of several kinds for it, and none of them names the file."""
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "validation" / METADATA_FILE
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)
    for read in (load_splits, check_dataset_dir):
        with pytest.raises(UserError, match=f"'{path}' (cannot be read|says of its columns is)"):
            read(folder)


def test_labels_that_have_lost_their_names_are_told(genre_dataset, tmp_path):
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    (folder / PREPARATION_FILE).write_text("{}")
    path = folder / "train" / METADATA_FILE
    pd.read_parquet(path).to_parquet(path)
    with pytest.raises(UserError, match=f"'{path}' has lost the names of its genres"):
        load_splits(folder)


def test_a_table_of_another_s_names_its_genres_itself(genre_dataset, tmp_path):
    """An audiofolder whose table names songs, as ours do, but spells genres and has no groups."""
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    for path in folder.glob(f"*/{METADATA_FILE}"):
        table = pd.read_parquet(path)[["file_name", "label", "song_id"]]
        table["label"] = table["label"].map(["rock", "jazz", "disco"].__getitem__)
        table.to_parquet(path)
    splits = load_splits(folder)
    assert label_names(splits) == ["disco", "jazz", "rock"]
    assert splits["train"]["group"][:] == splits["train"]["song_id"][:]

"""Splits that a table gives: those of a collection are kept; what stands in their way is told."""

import csv
import json

import pytest
from song_library import contents, make_library, prepare

from genreast.data.audiofolder import load_splits
from genreast.data.genres import read_library
from genreast.data.song_table import read_songs
from genreast.errors import UserError

OFFICIAL = ["training"] * 3 + ["Valid", "test", "evaluation"]
MEANT = ["train"] * 3 + ["validation", "test", "test"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Six songs a genre, by four artists, and one that the table below does not name."""
    root = tmp_path_factory.mktemp("raw")
    make_library(root, {"jazz": 6, "rock": 6, "polka": 1}, seconds=(1, 1.2), suffixes=["wav"])
    (root / "polka").rename(root / "jazz" / "faulty")
    return root


def songs_of(raw, genre):
    files = (raw / genre).glob("artist*/*")
    return sorted((path.relative_to(raw).as_posix() for path in files), key=lambda path: path[-5])


@pytest.fixture
def table(raw, tmp_path):
    """The splits of the named songs, in the words of several collections."""

    def write(jazz=OFFICIAL, rock=OFFICIAL):
        rows = [("path", "artist", "split")]
        for genre, given in {"jazz": jazz, "rock": rock}.items():
            named = zip(songs_of(raw, genre), given, strict=True)
            rows += [(f"./{path}", "X", split) for path, split in named]
        with open(tmp_path / "splits.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
        return tmp_path / "splits.csv"

    return write


def splits(dataset):
    return {row["path"]: row["split"] for row in read_songs(dataset) if row["split"]}


def official(raw):
    return {
        path: split
        for genre in ("jazz", "rock")
        for path, split in zip(songs_of(raw, genre), MEANT, strict=True)
    }


def test_the_splits_of_a_collection_are_the_dataset_s(raw, table, tmp_path, capsys):
    output = tmp_path / "dataset"
    command = (raw, "--output_dir", output, "--val_fraction", 0.4, "--splits_from")
    assert prepare(*command, table()) == 0
    assert splits(output) == official(raw) and "→" not in capsys.readouterr().err
    (left_out,) = (row for row in read_songs(output) if row["status"] != "used")
    assert left_out["reason"] == "no split in the table of splits" and "faulty" in left_out["path"]
    assert {name: len(split) for name, split in load_splits(output).items()} == {
        "train": 6,
        "validation": 2,
        "test": 4,
    }
    facts = json.loads((output / "preparation.json").read_text())
    assert facts["splits_from"] == "own table" and not {"seed", "val_fraction"} & facts.keys()
    assert "Splits are a table's" in (output / "README.md").read_text()
    assert str(tmp_path).encode() not in b"".join(contents(output).values())

    swapped = [*OFFICIAL[:2], "test", "valid", "train", "test"]
    assert prepare(*command, table(jazz=swapped), "--update") == 0
    assert [splits(output)[path] for path in songs_of(raw, "jazz")][2:5] == [
        "test",
        "validation",
        "train",
    ]
    assert "songs that did not stay in their split: 2" in capsys.readouterr().err
    again = tmp_path / "again"
    assert prepare(raw, "--output_dir", again, "--splits_from", output / "songs.csv") == 0
    assert splits(again) == splits(output)


def test_a_dataset_may_have_no_validation_split(raw, table, tmp_path):
    two = [*["train"] * 4, "test", ""]
    prepare(raw, "--output_dir", tmp_path / "dataset", "--splits_from", table(two, two))
    assert {name: len(split) for name, split in load_splits(tmp_path / "dataset").items()} == {
        "train": 8,
        "test": 2,
    }


def test_a_group_in_two_of_the_splits_is_told(raw, table, tmp_path, capsys):
    """Songs 0 and 4, and 1 and 5, are of one artist, the first of each to train on."""
    command = (raw, "--output_dir", tmp_path / "dataset", "--splits_from", table())
    prepare(*command, "--group_by", "folder")
    moved = official(raw).items() - splits(tmp_path / "dataset").items()
    assert sorted(path[-5] for path, _ in moved) == ["4", "4", "5", "5"]
    told = capsys.readouterr().err
    assert "in another split than others of their group: 4, such as 'jazz/artist 0/Song 4" in told
    assert "(test → train). To have them where it says: --duplicates ignore" in told
    prepare(*command, "--update", "--duplicates", "ignore", "--group_by", "song")
    assert splits(tmp_path / "dataset") == official(raw)


@pytest.mark.parametrize(
    ("rock", "words"),
    [
        (["fold 3"] * 6, "'rock/artist 0/Song 0.wav' in the split 'fold 3'; expected train, valid"),
        (["test"] * 6, "no usable song of 'rock' in train; expected one or more: put some"),
        ([""] * 6, "only one genre, 'jazz', with a song found"),
    ],
)
def test_a_table_of_splits_is_checked_before_the_long_work(raw, table, tmp_path, rock, words):
    output = tmp_path / "dataset"
    with pytest.raises(UserError, match=words):
        prepare(raw, "--output_dir", output, "--splits_from", table(rock=rock))
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


def test_a_list_of_songs_is_no_table(raw, tmp_path):
    listed = tmp_path / "train_filtered.txt"
    listed.write_text("jazz/artist 0/Song 0.wav\n")
    with pytest.raises(UserError, match=r"folder of an earlier dataset or FILE\.csv \(path,split"):
        prepare(raw, "--output_dir", tmp_path / "dataset", "--splits_from", listed)
    (tmp_path / "splits.csv").write_text("path,split\nhiphop/a.wav,train\n")
    with pytest.raises(UserError, match=r"--splits_from .* names none of the songs"):
        read_library(raw, splits_table=str(tmp_path / "splits.csv"))

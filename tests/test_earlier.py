"""What datasets made earlier decide of a new one, and what is said of them."""

import csv
import shutil

import pytest
from song_library import contents, make_library, prepare

from genreast.data.earlier import Earlier
from genreast.data.song_table import SongRow, write_songs
from genreast.errors import UserError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Twenty songs, and a file that is none."""
    root = tmp_path_factory.mktemp("raw")
    make_library(root, {"jazz": 10, "rock": 10}, seconds=(1, 1.2), suffixes=["wav"])
    (root / "jazz" / "notes.txt").write_text("mine")
    return root


@pytest.fixture(scope="module")
def half(raw, tmp_path_factory):
    """The library without every other song."""
    folder = tmp_path_factory.mktemp("half") / "raw"
    shutil.copytree(raw, folder)
    for path in sorted(folder.rglob("*.wav"))[::2]:
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "dataset"
    prepare(raw, "--output_dir", output, "--seed", 7)
    return output


def splits(dataset) -> dict[str, str]:
    with open(dataset / "songs.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row["split"] for row in csv.DictReader(file)}


def test_the_named_dataset_decides_before_the_one_that_is_replaced(
    raw, half, whole, tmp_path, capsys
):
    output, named = tmp_path / "dataset", tmp_path / "named"
    shutil.copytree(whole, output)
    prepare(half, "--output_dir", named)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--seed", 3, "--update", "--splits_from", named)
    told = capsys.readouterr().err
    before, first, after = splits(whole), splits(named), splits(output)
    assert after == before | first
    moved = sum(after[path] != before[path] for path in before)
    assert moved and f"did not stay in their split: {moved}, such as" in told
    learned = any(before[path] == "train" != after[path] for path in before)
    assert learned == ("may have heard what is now held out" in told)
    assert f"10 of 10 songs of '{named}' are here again\n" in told
    assert f"20 of 20 songs of '{output}' are here again\n" in told


def test_an_update_that_would_lose_half_of_the_songs_is_refused(raw, half, whole, tmp_path, capsys):
    output, aside = tmp_path / "dataset", tmp_path / "aside"
    shutil.copytree(whole, output)
    command = (half, "--output_dir", output, "--update")
    with pytest.raises(UserError, match=r"10 of 20 .* 10 are not, such as 'jazz/.*If RAW_DIR is"):
        prepare(*command)
    assert contents(output) == contents(whole)
    capsys.readouterr()
    output.rename(aside)
    prepare(*command, "--splits_from", aside)  # as the message says, and nothing is cut anew
    told = capsys.readouterr().err
    assert f"10 of 20 songs of '{aside}' are here again; 10 are not" in told
    assert "10/10" in told and "| 0/10" not in told


def test_a_song_that_is_gone_is_named(raw, whole, tmp_path, capsys):
    fewer, output = tmp_path / "raw", tmp_path / "dataset"
    shutil.copytree(raw, fewer)
    shutil.copytree(whole, output)
    train = [path for path, split in splits(whole).items() if split == "train"]
    (fewer / train[0]).unlink()
    (fewer / train[1]).rename(fewer / "rock" / "known by its sound.wav")
    prepare(fewer, "--output_dir", output, "--update")
    assert f"19 of 20 songs of '{output}' are here again; 1 are not, such as '{train[0]}'\n" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("update", [True, False])
def test_a_dataset_of_none_of_the_songs_is_refused(whole, tmp_path, update):
    other = make_library(tmp_path / "raw", {"x": 3, "y": 3}, seconds=(2, 2.2), suffixes=["flac"])
    output = tmp_path / "dataset"
    if update:
        shutil.copytree(whole, output)
        with pytest.raises(UserError, match=r"0 of 20 songs .*elsewhere and give the same command"):
            prepare(other, "--output_dir", output, "--update")
        assert contents(output) == contents(whole)
    else:
        with pytest.raises(UserError, match=r"0 of 20 songs .*or leave --splits_from out"):
            prepare(other, "--output_dir", output, "--splits_from", whole)


@pytest.mark.parametrize(
    ("before", "after"), [("jazz/café.mp3", "jazz/cafe\u0301.mp3"), ("caf\udce9.mp3",) * 2]
)
def test_a_song_is_known_by_its_place_however_its_name_is_spelt(tmp_path, before, after):
    """In another Unicode form, or in none, where a file was encoded anew."""
    write_songs([SongRow(before, split="test", recording="as wav")], tmp_path)
    earlier = Earlier.read(tmp_path, is_replaced=False)
    assert earlier.has_path(after)
    assert earlier.split_of(SongRow(after, recording="as mp3")) == "test"


def test_what_leaves_a_held_out_split_for_train_was_not_heard(whole, raw, tmp_path, capsys):
    """A song of test and one of train come into one group."""
    before, output, groups = splits(whole), tmp_path / "dataset", tmp_path / "groups.csv"
    shutil.copytree(whole, output)
    test, train = (min(path for path in before if before[path] == at) for at in ("test", "train"))
    groups.write_text(f"path,group\n{test},one\n{train},one\n")
    held_out = ("--val_fraction", 0.1, "--test_fraction", 0)
    prepare(raw, "--output_dir", output, "--update", "--group_by", groups, *held_out)
    after, told = splits(output), capsys.readouterr().err
    assert after[test] == after[train] == "train"
    assert "may have heard" not in told

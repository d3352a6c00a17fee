"""What `prepare_dataset.py` refuses, in which words, and what of the user's it leaves alone."""

import os
import shutil

import pyarrow.parquet as pq
import pytest
from song_library import contents, make_library, prepare

from genreast.data.audiofolder import SPLITS, load_splits
from genreast.data.seals import check_replaceable
from genreast.data.song_table import read_songs
from genreast.errors import UserError


def test_an_impossible_split_names_the_genre(tmp_path):
    root = make_library(tmp_path / "raw", {"jazz": 4, "rock": 1}, seconds=(1, 2))
    with pytest.raises(UserError, match="'rock' has 1; expected 3 or more"):
        prepare(root, "--output_dir", tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_genre_is_as_large_as_its_songs_that_can_be_used(tmp_path):
    root = make_library(tmp_path / "raw", {"jazz": 4, "polka": 4, "rock": 4}, seconds=(1, 2))
    *broken, whole = sorted((root / "polka").rglob("*.*"))
    for number, song in enumerate(broken):
        song.write_bytes(b"no sound" * number)
    shutil.copyfile(whole, root / "rock" / f"copy{whole.suffix}")
    output, least = tmp_path / "dataset", ("--min_songs_per_genre", 3)
    with pytest.raises(UserError, match=r"'polka' has 1 \(3 left out, .*\); expected 3 or more"):
        prepare(root, "--output_dir", output)
    assert prepare(root, "--output_dir", output, *least) == 0
    assert load_splits(str(output))["train"].features["label"].names == ["jazz", "rock"]
    rows = read_songs(output)
    reasons = [row["reason"] for row in rows if row["status"] == "rare_genre"]
    assert reasons == ["'polka' has fewer than 3 songs"]
    assert [row["status"] for row in rows if "rock/copy" in row["path"]] == ["used"]
    shutil.rmtree(root / "rock")
    with pytest.raises(UserError, match="1 genre has 3 usable songs or more"):
        prepare(root, "--output_dir", tmp_path / "other", *least)


@pytest.fixture
def small(tmp_path):
    return make_library(tmp_path / "raw", {"jazz": 3, "rock": 3}, seconds=(1, 2))


def add_file(folder):
    (folder / "notes.txt").write_text("mine")
    return "holds notes.txt, which --update would lose"


def edit_page(folder):
    with open(folder / "README.md", "a") as page:
        page.write("My own words.")
    return "holds README.md, edited since, which --update would lose"


def remove_table(folder):
    (folder / "songs.csv").unlink()
    return "is no dataset that prepare_dataset.py made"


def add_file_among_clips(folder):
    (folder / "train" / "notes.txt").write_text("mine")
    return "holds train/notes.txt, which --update would lose"


def link_among_clips(folder):
    (folder / "test" / "jazz" / "mine").symlink_to(folder.parent)
    return "holds test/jazz/mine, which --update would lose"


def add_column(folder):
    lines = (folder / "songs.csv").read_text().splitlines()
    (folder / "songs.csv").write_text("\n".join(f"{line},my notes" for line in lines))
    return "holds songs.csv, edited since .* name another --output_dir, with --splits_from"


def edit_clip_table(folder):
    path = folder / "train" / "metadata.parquet"
    pq.write_table(pq.read_table(path).append_column("mood", [["mine"] * 2]), path)
    return "holds train/metadata.parquet, edited since"


CHANGES = [add_file, edit_page, remove_table, add_file_among_clips, link_among_clips, add_column]
CHANGES += [edit_clip_table]


@pytest.mark.parametrize("change", CHANGES)
def test_an_update_replaces_a_dataset_as_we_wrote_it_alone(small, tmp_path, change):
    output = tmp_path / "dataset"
    prepare(small, "--output_dir", output)
    shutil.copytree(output, tmp_path / "other")
    message = change(output)
    before = contents(output)
    flags = ("--update", "--splits_from", tmp_path / "other")
    with pytest.raises(UserError, match=message):
        prepare(small, "--output_dir", output, *flags)
    assert contents(output) == before
    assert not (tmp_path / "dataset.work").exists()


def test_shards_are_a_datasets_own_and_what_lies_beside_them_is_not(small, tmp_path):
    output = tmp_path / "dataset"
    flags = ("--output_dir", output, "--format", "parquet", "--update")
    prepare(small, *flags)
    (output / "data" / ".DS_Store").touch()
    assert prepare(small, *flags) == 0
    for name in ("mine.parquet", "train-00000-of-00001.parquet.mine"):
        (output / "data" / name).touch()
        with pytest.raises(UserError, match=f"holds data/{name}, which"):
            prepare(small, *flags)
        (output / "data" / name).unlink()


def test_an_evaluation_is_no_dataset_to_replace(tmp_path):
    (tmp_path / "songs.csv").write_text("song_id,label\n")
    with pytest.raises(UserError, match=r"is no dataset that prepare_dataset\.py made"):
        check_replaceable(tmp_path)


def test_a_folder_that_only_bears_the_works_name_is_left_alone(small, tmp_path):
    mine = tmp_path / "dataset.work" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"dataset\.work' is in the way"):
        prepare(small, "--output_dir", tmp_path / "dataset")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("output", ["raw", "raw/processed", "."])
def test_songs_and_dataset_do_not_lie_in_one_another(small, tmp_path, output):
    before = contents(small)
    with pytest.raises(UserError, match="lie in one another"):
        prepare(small, "--output_dir", tmp_path / output, "--update")
    assert contents(small) == before


def test_a_link_to_another_disk_stays_one(small, tmp_path):
    disk, link = tmp_path / "disk" / "dataset", tmp_path / "data"
    disk.parent.mkdir()
    link.symlink_to(disk)
    for flags in ((), ("--update",)):
        assert prepare(small, "--output_dir", link, *flags) == 0
        assert link.is_symlink() and set(load_splits(disk)) == set(SPLITS)
    assert [path.name for path in disk.parent.iterdir()] == ["dataset"]


def test_mistakes_in_tables_are_told_before_the_long_work(small, tmp_path, capsys):
    output, table = tmp_path / "dataset", tmp_path / "groups.CSV"
    (tmp_path / "songs.csv").write_text("song_id,label\n")
    with pytest.raises(UserError, match="has no column 'clips'"):
        prepare(small, "--output_dir", output, "--splits_from", tmp_path)
    table.write_text("path,group\njazz/a.wav,1\njazz/a.wav,2\n")
    with pytest.raises(UserError, match=r"'jazz/a\.wav' in two groups, '1' and '2'"):
        prepare(small, "--output_dir", output, "--group_by", table)
    table.write_text("path,group\njazz\\artist 0\\Song 0.wav,1\n")  # as Windows writes paths
    with pytest.raises(UserError, match=r"names none of the songs, but 1 .*as 'jazz/artist 0/Song"):
        prepare(small, "--output_dir", output, "--group_by", table)
    assert "cutting" not in capsys.readouterr().err
    table.write_text("path,group\njazz/a.wav,1\njazz/artist 0/Song 0.wav\n")
    assert prepare(small, "--output_dir", output, "--group_by", table) == 0
    told = capsys.readouterr().err
    assert f"1 of 2 paths in '{table}' are no songs of RAW_DIR, such as 'jazz/a.wav'" in told
    assert f"6 of 6 songs have no group in '{table}'" in told


def test_a_genre_without_one_song_that_can_be_used_is_named_and_may_be_mended(small, tmp_path):
    def write(sounds):
        for path, sound in sounds.items():
            path.write_bytes(sound)
            os.utime(path, (0, 0))  # as where a file's rights are mended: it is the same file

    make_library(small, {"jazz": 3, "rock": 3, "polka": 3}, seconds=(1, 2))
    sounds = {path: path.read_bytes() for path in (small / "polka").rglob("*.*")}
    write({path: bytes(len(sound)) for path, sound in sounds.items()})
    with pytest.raises(UserError) as error:
        prepare(small, "--output_dir", tmp_path / "dataset")
    found = {row["path"]: row for row in read_songs(tmp_path / "dataset.work")}
    assert sorted(row["status"] for row in found.values()) == ["unreadable"] * 3 + ["used"] * 6
    song = "polka/artist 0/Song 0.wav"
    told = f"'polka' has 0 (3 left out, such as '{song}': {found[song]['reason']}); expected 3"
    assert told in str(error.value) and "dataset.work/songs.csv' has the reason" in str(error.value)
    write(sounds)
    assert prepare(small, "--output_dir", tmp_path / "dataset") == 0
    assert not (tmp_path / "dataset.work").exists()


@pytest.mark.parametrize("name", ["nothing", "empty", "text"])
def test_what_is_no_dataset_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"prepare_dataset\.py"):
        load_splits(tmp_path / name)

"""Genres: in the user's order, from folders, from tags of any spelling, or from a table."""

import csv
import json
import os

import mutagen
import pytest
import soundfile
from datasets import load_dataset
from song_library import RATE, contents, melody, prepare

from genreast.data.genres import read_library
from genreast.errors import UserError


def test_genres_keep_the_order_of_their_indices(tree):
    root = tree("10_metal/a.mp3", "9_bro-country/a.mp3", "0_jazz/a.mp3", "ambient/a.mp3")
    assert read_library(root).genres == ["jazz", "bro-country", "metal", "ambient"]


def test_an_index_is_told_from_a_name_that_begins_with_a_number(tree):
    assert read_library(tree("80s/a.mp3", "2_step/a.mp3")).genres == ["step", "80s"]


def test_a_genre_that_is_no_unicode_gets_a_name_that_is(tree):
    name = os.fsdecode(b"0_caf\xe9")
    try:
        root = tree(f"{name}/a.mp3", "rock/a.mp3")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert read_library(root).genres == ["caf\\xe9", "rock"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "no genre's folder with a song found"),
        (["jazz/a.mp3"], "only one genre, 'jazz'"),
        (["jazz/a.mp3", "rock/cover.jpg"], "only one genre, 'jazz'"),
        (["1_jazz/a.mp3", "1_rock/a.mp3"], "'1_jazz' and '1_rock' have the same index 1"),
        (["01_jazz/a.mp3", "1_rock/a.mp3"], "the same index 1"),
        (["1_rock/a.mp3", "2_rock/a.mp3"], "name the genre 'rock'"),
        (["Train/jazz/a.flac", "test/jazz/b.flac"], r"are splits \(Train, test\)"),
        (["development/jazz/a.mp3", "training/jazz/b.mp3"], r"are splits .*path,genre,split"),
    ],
)
def test_a_folder_that_gives_no_genres_is_refused(tree, tmp_path, paths, message):
    tree(*paths)
    with pytest.raises(UserError, match=message):
        read_library(tmp_path)


def test_an_address_is_no_folder_and_told_as_it_was_given():
    with pytest.raises(UserError, match=r"RAW_DIR 'https://example\.org/songs' does not"):
        read_library("https://example.org/songs")


def write_song(path, seed=0, seconds=0.1, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, melody(seed, seconds), RATE)
    if tags:
        file = mutagen.File(path, easy=True)
        file.update({key: [text] for key, text in tags.items()})
        file.save()


def test_tags_that_spell_a_genre_in_two_ways_mean_one(tmp_path):
    spelt = ["Hip Hop", "hip  hop", "Hip Hop", "HIP HOP; Rap", "; Jazz", "2-Step", ""]
    for number, genre in enumerate(spelt):
        write_song(tmp_path / "A" / f"{number}.flac", number, **({"genre": genre} if genre else {}))
    (tmp_path / "A" / "cover.jpg").touch()
    library = read_library(tmp_path, "tag")
    assert library.genres == ["2-Step", "Hip Hop", "Jazz"]
    told = {file.path: (file.genre, file.status, file.reason) for file in library.files}
    assert [told[f"A/{number}.flac"][0] for number in range(6)] == [
        *["Hip Hop"] * 4,
        *library.genres[::-2],
    ]
    assert told["A/6.flac"] == ("", "no_genre", "no genre in its tags")
    assert told["A/cover.jpg"][1] == "not_audio"


def test_genres_of_few_songs_are_left_out_where_that_is_asked(tree):
    root = tree("1_jazz/a.mp3", "1_jazz/b.mp3", "rock/a.mp3", "rock/b.mp3", "0_polka/a.mp3")
    assert read_library(root).genres == ["polka", "jazz", "rock"]
    library = read_library(root, min_songs=2)
    assert library.genres == ["jazz", "rock"]
    (left_out,) = (file for file in library.files if file.status)
    assert (left_out.path, left_out.status) == ("0_polka/a.mp3", "rare_genre")
    assert left_out.reason == "'0_polka' has fewer than 2 songs"
    with pytest.raises(UserError, match=r"folder of 3 songs .*: lower --min_songs_per_genre"):
        read_library(root, min_songs=3)
    with pytest.raises(UserError, match="only one genre, 'test'"):  # no split, where others are not
        read_library(tree("test/a.mp3", "test/b.mp3", "test/c.mp3"), min_songs=3)


def test_a_tag_s_number_is_its_genre_s_and_a_table_s_its_place(tmp_path):
    for genre in ("8_bit", "Jazz"):
        write_song(tmp_path / "A" / f"{genre}.flac", genre=genre)
    assert read_library(tmp_path, "tag").genres == ["8_bit", "Jazz"]
    table = tmp_path / "genres.csv"
    table.write_text("path,genre\nA/8_bit.flac,1_bit\nA/Jazz.flac,0_jazz\n,\n")
    assert read_library(tmp_path, str(table)).genres == ["jazz", "bit"]


def test_a_table_that_spells_a_genre_in_two_ways_means_one(tmp_path, tree):
    root, table = tree("a/1.mp3", "a/2.mp3", "a/3.mp3", "a/4.mp3"), tmp_path / "genres.csv"
    table.write_text("path,genre\na/1.mp3,Jazz\na/2.mp3,jazz\na/3.mp3,Jazz\na/4.mp3,Rock\n")
    assert read_library(root, str(table)).genres == ["Jazz", "Rock"]


def test_a_slash_or_comma_belongs_to_a_genre(tmp_path):
    for genre in ("Hip-Hop/Rap", "Folk, World, & Country"):
        write_song(tmp_path / "A" / f"{genre[:3]}.flac", genre=genre)
    assert read_library(tmp_path, "tag").genres == ["Folk, World, & Country", "Hip-Hop/Rap"]


@pytest.mark.parametrize("of_artists", [1, 2])
def test_folders_of_artists_are_remarked_upon_where_they_are_most(tmp_path, capsys, of_artists):
    for number, folder in enumerate(["Nina Simone", "Sun Ra", "Jazz"]):
        artist = folder.upper() if number < of_artists else "Various"
        write_song(tmp_path / folder / "Album" / "1.flac", number, artist=artist)
    assert len(read_library(tmp_path).genres) == 3
    told = capsys.readouterr().err
    assert ("2 of 3 folders have the name of an artist, such as 'Nina Simone'" in told) == (
        of_artists == 2
    )
    assert bool(told) == (of_artists == 2)


def test_folders_of_track_numbers_are_remarked_upon(tree, capsys):
    """As FMA's and MTG-Jamendo's are; a decade is a genre's name."""
    read_library(tree("fma/000/000002.mp3", "fma/001/001074.mp3", "fma/lost/1.mp3") / "fma")
    told = "2 of 3 folders have a number for a name, such as '000', and each is taken for a genre"
    assert told in capsys.readouterr().err
    read_library(tree("decades/80s/a.mp3", "decades/90s/a.mp3") / "decades")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("genre_by", ["tag", "TABLE"])
def test_genres_that_are_nowhere_are_asked_for(tree, tmp_path, genre_by):
    root, table = tree("raw/Album/a.mp3", "raw/Album/b.mp3") / "raw", tmp_path / "genres.csv"
    table.write_text("path,genre\nAlbum/a.mp3,jazz\nAlbum/b.mp3,\n")
    message = "no genre with a song found in the tags of" if genre_by == "tag" else "'jazz', with"
    with pytest.raises(UserError, match=f"{message}.*; --genre_by also takes folder, tag and FILE"):
        read_library(root, str(table) if genre_by == "TABLE" else genre_by)
    with pytest.raises(UserError, match=r"--genre_by tag, or FILE\.csv \(path,genre\)"):
        read_library(root)


def test_a_library_by_artist_becomes_a_dataset_of_the_genres_it_is_told(tmp_path, capsys):
    """The same songs, told once by their tags and once by a table, give the same clips."""
    raw, rows = tmp_path / "raw", []
    for number in range(12):
        genre, suffix = ("Jazz", "Deep House")[number % 2], ("flac", "ogg", "mp3")[number % 3]
        path = raw / f"Artist {number // 2}" / f"{number}.{suffix}"
        write_song(path, number, 1.5, genre=genre)
        rows.append((path.relative_to(raw).as_posix(), genre))
    write_song(raw / "loose.flac", 99, 1.5)
    table = tmp_path / "genres.CSV"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("path", "genre"), *rows, ("gone.mp3", "Jazz")])
    outputs = {}
    for name, genre_by in {"tags": "tag", "table": table}.items():
        output = outputs[name] = tmp_path / name
        flags = ["--val_fraction", 0.3, "--test_fraction", 0.3, "--group_by", "folder"]
        assert prepare(raw, "--output_dir", output, "--genre_by", genre_by, *flags) == 0
    assert "1 of 13 paths in" in capsys.readouterr().err
    by_tags, by_table = map(contents, outputs.values())
    told = {"songs.csv", "README.md", "preparation.json"}  # name the way the genres were told
    assert {name for name in by_tags if by_tags[name] != by_table.get(name)} <= told
    assert by_tags.keys() == by_table.keys()
    facts = json.loads(by_table["preparation.json"])
    assert (facts["genre_by"], facts["songs_without_group"]) == ("own table", 0)
    assert b"in two splits: here by folder)" in by_table["README.md"]
    assert str(tmp_path).encode() not in b"".join(by_table.values())

    with open(outputs["tags"] / "songs.csv", newline="") as file:
        songs = {row["path"]: row for row in csv.DictReader(file)}
    assert {path: songs[path]["genre"] for path, _ in rows} == dict(rows)
    assert songs["loose.flac"]["status"] == "no_genre"
    splits = {row["group"]: row["split"] for row in songs.values() if row["split"]}
    assert len(splits) == 6, "a folder, here an artist's, is a group"
    found = load_dataset("audiofolder", data_dir=outputs["table"], cache_dir=tmp_path / "cache")
    assert found["train"].features["label"].names == ["Deep House", "Jazz"]

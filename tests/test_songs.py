"""Scanning: every file listed, links followed, names that mislead no library."""

import re

import pytest
from datasets.data_files import NON_WORDS_CHARS, SPLIT_KEYWORDS
from hypothesis import given
from hypothesis import strategies as st

from genreast.data.genres import read_library
from genreast.data.song_record import clip_name
from genreast.data.songs import SongFile, find_files, genre_folders, slug
from genreast.errors import UserError


def test_songs_lie_at_any_depth_and_every_file_is_listed(tree):
    root = tree(
        "jazz/Artist/Album/01 Take's “Five”.mp3",
        "jazz/Artist/Album/cover.jpg",
        "jazz/._x.mp3",
        "jazz/.DS_Store",
        "rock/Ärger/ü.FLAC",
        "rock/Thumbs.db",
        "rock/.38 Special/...And You.mpga",
        ".git/config.mp3",
        "notes.txt",
        "loose.mp3",
    )
    library = read_library(root)
    status = {file.path: file.status for file in library.files}
    assert status == {
        "jazz/Artist/Album/01 Take's “Five”.mp3": "",
        "jazz/Artist/Album/cover.jpg": "not_audio",
        "jazz/._x.mp3": "not_audio",
        "jazz/.DS_Store": "not_audio",
        "rock/Ärger/ü.FLAC": "",
        "rock/Thumbs.db": "not_audio",
        "rock/.38 Special/...And You.mpga": "",
        ".git/config.mp3": "not_audio",
        "notes.txt": "not_audio",
        "loose.mp3": "no_genre",
    }
    assert all(file.reason for file in library.files if file.status)


def test_links_are_followed_and_loops_end(tree):
    root = tree("jazz/real/a.mp3", "rock/b.mp3")
    (root / "jazz" / "linked.mp3").symlink_to(root / "rock" / "b.mp3")
    (root / "jazz" / "gone.mp3").symlink_to(root / "nothing.mp3")
    (root / "jazz" / "real" / "loop").symlink_to(root / "jazz")
    (root / "jazz" / "album").symlink_to(root / "jazz" / "real")
    status = {file.path: file.status for file in find_files(root)}
    assert status == {
        "jazz/real/a.mp3": "",
        "jazz/album/a.mp3": "",
        "jazz/linked.mp3": "",
        "jazz/gone.mp3": "unreadable",
        "rock/b.mp3": "",
    }


@pytest.mark.parametrize(
    "mode, listed",
    [
        (0o000, {"jazz/locked": "a folder that may not be read"}),
        (
            0o400,  # its names are told, and no more
            {
                "jazz/locked/b.mp3": "in a folder that may not be entered",
                "jazz/locked/deeper": "a folder that may not be read",
            },
        ),
    ],
)
def test_a_folder_that_may_not_be_read_is_listed(tree, mode, listed, no_privileges):
    root = tree("jazz/a.mp3", "jazz/locked/b.mp3", "jazz/locked/deeper/c.mp3", "rock/a.mp3")
    (root / "jazz/locked").chmod(mode)
    try:
        files = [file for file in read_library(root).files if file.status]
    finally:
        (root / "jazz/locked").chmod(0o700)
    assert {file.path: file.reason for file in files} == listed
    assert {(file.genre, file.status) for file in files} == {("jazz", "unreadable")}


def test_where_genres_are_missing_folders_that_may_not_be_read_are_told(tree, no_privileges):
    root = tree("jazz/a.mp3", "rock/a.mp3")
    (root / "jazz").chmod(0o000)
    words = "only one genre, 'rock'.*1 could not be read, such as 'jazz': a folder that may not"
    try:
        with pytest.raises(UserError, match=words):
            read_library(root)
    finally:
        (root / "jazz").chmod(0o700)


def test_ids_are_unique_where_names_are_not(tree):
    root = tree("jazz/A/x.mp3", "jazz/a/x.mp3", "jazz/A/X.mp3", "rock/A/x.mp3", "rock/A/x.wav")
    ids = [file.song_id for file in find_files(root)]
    assert len({song_id.lower() for song_id in ids}) == len(ids)


def test_of_two_unicode_spellings_of_one_name_one_is_kept(tree):
    root = tree("jazz/caf\u00e9.mp3", "jazz/cafe\u0301.mp3", "rock/a.mp3")
    if len(list((root / "jazz").iterdir())) < 2:
        pytest.skip("this file system holds both for one name")
    library = read_library(root)
    assert len({song.song_id for song in library.songs}) == len(library.songs) == 2
    (other,) = (file for file in library.files if file.status)
    assert other.status == "unreadable" and "another Unicode form" in other.reason


def test_folders_of_genres_differ_even_where_only_case_does():
    assert genre_folders(["Rock", "rock", "jazz"]) == ["rock-0", "rock-1", "jazz"]
    assert len(set(genre_folders(["a", "A", "a-1"]))) == 3
    assert genre_folders(["演歌", "民謡"]) == ["genre-0", "genre-1"]
    long = genre_folders([f"{'a ' * 48}testament {'b' * 300}{end}" for end in "xy"])
    assert len(set(long)) == 2 and max(map(len, long)) < 120
    assert all(name.startswith("a-a-") and "-testx-" in name for name in long)


def test_a_clip_of_a_song_with_the_longest_name_there_is_has_one_that_can_be_written(tmp_path):
    song = SongFile(f"jazz/{'x' * 251}.mp3")
    (tmp_path / clip_name(song.song_id, 3600 * 16_000)).touch()
    assert len(song.song_id) < 60


@given(st.text(max_size=40) | st.from_regex(r"[ _.-]?(test|train|dev|val)[ _.0-9-]?[a-z]*"))
def test_no_name_is_taken_for_a_split(name):
    words = [word for split in SPLIT_KEYWORDS.values() for word in split]
    separated = re.compile(rf"(^|[{NON_WORDS_CHARS}])({'|'.join(words)})($|[{NON_WORDS_CHARS}])")
    assert not separated.search(slug(name))
    assert re.fullmatch(r"[a-z0-9-]*", slug(name))


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        find_files(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        find_files(tmp_path / "file")

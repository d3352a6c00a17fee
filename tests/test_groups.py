"""Groups: from tags of any container, folders or a table, joined with recordings found twice."""

import subprocess

import mutagen
import mutagen.id3
import numpy as np
import pytest
import soundfile

from genreast.errors import UserError
from genreast.groups import group_key, joined_groups
from genreast.tables import read_table
from genreast.tags import read_genre, read_tags


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg"])
def test_tags_are_read_from_any_container(tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    soundfile.write(path, np.zeros(16_000), 16_000)
    tags = mutagen.File(path, easy=True)
    tags["artist"], tags["album"], tags["genre"] = "Björk", " Post ", ["Trip Hop", "Pop"]
    tags.save()
    assert read_tags(path) == {"artist": "Björk", "album": "Post"}
    assert read_genre(path) == "Trip Hop"


@pytest.mark.parametrize(
    ("suffix", "names"),
    [
        ("wav", ("TPE1", "TPE2", "TALB", "TCON")),
        ("aiff", ("TPE1", "TPE2", "TALB", "TCON")),
        ("wma", ("Author", "WM/AlbumArtist", "WM/AlbumTitle", "WM/Genre")),
        ("wv", ("Artist", "Album Artist", "Album", "Genre")),
        ("m4a", ("\xa9ART", "aART", "\xa9alb", "\xa9gen")),
    ],
)
def test_containers_have_their_own_names_for_tags(tmp_path, suffix, names):
    path = tmp_path / f"song.{suffix}"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440:d=0.2", str(path)]
    subprocess.run(command, check=True)
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    for name, text in zip(names, ("Björk", "Various", "Post", "Jazz"), strict=True):
        frame = getattr(mutagen.id3, name, None)
        file.tags[name] = frame(encoding=3, text=[text]) if frame else [text]
    file.save()
    assert read_tags(path) == {"artist": "Björk", "albumartist": "Various", "album": "Post"}
    assert read_genre(path) == "Jazz"


@pytest.mark.parametrize("suffix", ["mp3", "wav"])
def test_a_genre_that_id3_numbers_has_its_name(tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    soundfile.write(path, np.zeros(16_000), 16_000)
    file = mutagen.File(path)
    file.add_tags()
    file.tags.add(mutagen.id3.TCON(encoding=3, text=["(17)"]))
    file.save()
    assert read_genre(path) == "Rock"


def test_a_file_without_tags_has_none(tmp_path):
    (tmp_path / "text.mp3").write_text("no sound")
    soundfile.write(tmp_path / "bare.wav", np.zeros(800), 16_000)
    assert read_tags(tmp_path / "text.mp3") == read_tags(tmp_path / "bare.wav") == {}
    assert read_tags(tmp_path / "missing.flac") == {}
    assert read_genre(tmp_path / "text.mp3") == read_genre(tmp_path / "bare.wav") == ""


@pytest.mark.parametrize(
    ("group_by", "tags", "expected"),
    [
        ("song", {"artist": "A"}, None),
        ("artist", {"artist": " The  BAND"}, "artist the band"),
        ("artist", {"artist": "A", "albumartist": "Various Artists"}, "artist a"),
        ("artist", {"artist": "A feat. B", "albumartist": "A"}, "artist a"),
        ("artist", {}, None),
        ("album", {"album": "Live", "albumartist": "A"}, "album live / a"),
        ("album", {"artist": "A"}, None),
        ("artist", {"artist": "half \ud83d"}, "artist half ?"),
        ("folder", {}, "folder jazz/album"),
        ("table.csv", {}, "group 7"),
    ],
)
def test_keys(group_by, tags, expected):
    assert group_key("jazz/album/x.mp3", tags, group_by, {"jazz/album/x.mp3": "7"}) == expected


def test_songs_right_in_the_genre_folder_are_their_own_groups():
    assert group_key("jazz/x.mp3", {}, "folder", {}) is None
    assert group_key("jazz/caf\udce9/x.mp3", {}, "folder", {}) == "folder jazz/caf\\xe9"


def test_any_folder_is_a_group_where_none_is_a_genre_s():
    assert group_key("Artist/x.mp3", {}, "folder", {}, genre_folders=False) == "folder Artist"
    assert group_key("x.mp3", {}, "folder", {}, genre_folders=False) is None


def test_keys_and_links_both_join():
    groups = joined_groups(["a", "b", "c", "d", "e"], ["X", None, "X", None, "Y"], [(1, 2), (3, 4)])
    assert groups == ["X", "X", "X", "Y", "Y"]
    assert joined_groups(["a", "b"], [None, None], []) == ["a", "b"]


def test_a_table_is_checked(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("path,group\njazz/x.mp3,7\n")
    assert read_table(str(table), "--group_by", "group") == {"jazz/x.mp3": "7"}
    table.write_text("file,artist\n")
    with pytest.raises(UserError, match=r"columns \['file', 'artist'\]; expected 'path'"):
        read_table(str(table), "--group_by", "group")
    with pytest.raises(UserError, match=r"--genre_by '.*none\.csv' cannot be read"):
        read_table(str(tmp_path / "none.csv"), "--genre_by", "genre")

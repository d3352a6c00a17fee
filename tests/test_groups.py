"""Groups: from tags of any container, folders or a table, joined with recordings found twice."""

import os
import shutil
import subprocess

import mutagen
import mutagen.id3
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from mutagen.apev2 import APEv2

from genreast.data.groups import group_keys, joined_groups
from genreast.data.tags import read_genre, read_tags
from genreast.errors import UserError
from genreast.tables import is_table, read_table


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg"])
def test_tags_are_read_from_any_container(tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    soundfile.write(path, np.zeros(16_000), 16_000)
    tags = mutagen.File(path, easy=True)
    tags["artist"], tags["genre"] = ["Björk", "Tricky; Goldie"], ["Trip Hop", "Pop"]
    tags["album"] = " Post;  Live "
    tags.save()
    expected = {"artist": ["Björk", "Tricky", "Goldie"], "album": ["Post; Live"]}
    assert read_tags(path) == {**expected, "genre": ["Trip Hop", "Pop"]}
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
    expected = {"artist": "Björk", "albumartist": "Various", "album": "Post", "genre": "Jazz"}
    assert read_tags(path) == {name: [text] for name, text in expected.items()}
    assert read_genre(path) == "Jazz"


@pytest.mark.parametrize("suffix", ["wav", "caf", "mka", "webm", "mov", "tta", "au"])
def test_a_file_s_own_tags_are_read_where_it_has_no_others(tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    tags = {"artist": "Björk; Tricky", "album": "Post", "genre": "Trip Hop"}
    words = [word for name, text in tags.items() for word in ("-metadata", f"{name}={text}")]
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440:d=0.2", *words, str(path)]
    subprocess.run(command, check=True)
    expected = {"artist": ["Björk", "Tricky"], "album": ["Post"], "genre": ["Trip Hop"]}
    assert read_tags(path) == expected


def test_tags_that_other_software_adds_hide_none_of_the_file_s_own(tmp_path):
    """An ID3 chunk with nothing but the tempo, as DJs' software writes it into a wav."""
    path = tmp_path / "song.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        file.artist, file.genre = "Björk", "Trip Hop"
        file.write(np.zeros(800))
    file = mutagen.File(path)
    file.add_tags()
    file.tags.add(mutagen.id3.TBPM(encoding=3, text=["120"]))
    file.tags.add(mutagen.id3.TCON(encoding=3, text=["Pop"]))
    file.save()
    assert read_tags(path) == {"artist": ["Björk"], "genre": ["Pop"]}


@pytest.mark.parametrize("suffix", ["mp3", "wav"])
def test_a_genre_that_id3_numbers_has_its_name(tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    soundfile.write(path, np.zeros(16_000), 16_000)
    file = mutagen.File(path)
    file.add_tags()
    file.tags.add(mutagen.id3.TCON(encoding=3, text=["(17)"]))
    file.save()
    assert read_genre(path) == "Rock"


def test_ape_tags_of_an_mp3_are_read_where_it_has_no_others(tmp_path):
    """As foobar2000 writes them; a program that measures loudness adds some to ID3 ones."""
    path = tmp_path / "song.mp3"
    soundfile.write(path, np.zeros(16_000), 16_000)
    ape = APEv2()
    ape["Genre"], ape["Artist"], ape["MP3GAIN_MINMAX"] = ["Trip Hop", "Pop"], "Björk", "1,2"
    ape.save(path)
    assert read_tags(path) == {"artist": ["Björk"], "genre": ["Trip Hop", "Pop"]}
    file = mutagen.File(path)
    file.add_tags()
    file.tags.add(mutagen.id3.TCON(encoding=3, text=["Jazz"]))
    file.save()
    assert read_tags(path) == {"artist": ["Björk"], "genre": ["Jazz"]}


def test_a_file_without_tags_has_none(tmp_path):
    (tmp_path / "text.mp3").write_text("no sound")
    soundfile.write(tmp_path / "bare.wav", np.zeros(800), 16_000)
    shutil.copyfile(tmp_path / "bare.wav", tmp_path / os.fsdecode(b"caf\xe9.wav"))
    assert read_tags(tmp_path / os.fsdecode(b"caf\xe9.wav")) == {}
    assert read_tags(tmp_path / "text.mp3") == read_tags(tmp_path / "bare.wav") == {}
    assert read_tags(tmp_path / "missing.flac") == {}
    assert read_genre(tmp_path / "text.mp3") == read_genre(tmp_path / "bare.wav") == ""


@pytest.mark.parametrize(
    ("group_by", "tags", "expected"),
    [
        ("song", {"artist": "A"}, []),
        ("artist", {"artist": " The  BAND"}, ["the band"]),
        ("artist", {"artist": "A", "albumartist": "Various Artists"}, ["a"]),
        ("artist", {"artist": "A (feat. B)", "albumartist": "A"}, ["a"]),
        ("artist", {"artist": "A ft. B"}, ["a"]),
        ("artist", {"artist": "A [Featuring B]"}, ["a"]),
        ("artist", {"artist": "Daft Feature"}, ["daft feature"]),
        ("artist", {"artist": "Daft Punk", "albumartist": "Cafe del Mar 2"}, ["daft punk"]),
        ("artist", {"artist": "Unknown Artist"}, []),
        ("artist", {}, []),
        ("artist", {"artist": "half \ud83d"}, ["half ?"]),
        ("album", {"album": "Live", "albumartist": "A", "artist": "B"}, ["live / a"]),
        ("album", {"album": "Hits", "artist": "B"}, ["hits / b", "hits / jazz/album"]),
        ("album", {"artist": "A"}, []),
        ("folder", {}, ["jazz/album"]),
        ("table.csv", {}, ["7"]),
    ],
)
def test_keys(group_by, tags, expected):
    tags = {name: [text] for name, text in tags.items()}
    kind = group_by.replace("table.csv", "group")
    found = group_keys("jazz/album/x.mp3", tags, group_by, {"jazz/album/x.mp3": "7"})
    assert found[: len(expected)] == [f"{kind} {key}" for key in expected]
    assert bool(found) == bool(expected)


def test_songs_right_in_the_genre_folder_are_their_own_groups():
    assert group_keys("jazz/x.mp3", {}, "folder", {}) == []
    assert group_keys("jazz/caf\udce9/x.mp3", {}, "folder", {}) == ["folder jazz/caf\\xe9"]
    assert group_keys("jazz/x.mp3", {"album": ["Live"]}, "album", {}) == ["album live / "]


def test_a_table_and_a_disk_may_spell_a_path_in_two_unicode_forms():
    assert group_keys("jazz/cafe\u0301.mp3", {}, "g.csv", {"jazz/caf\xe9.mp3": "7"}) == ["group 7"]


def test_any_folder_is_a_group_where_none_is_a_genre_s():
    assert group_keys("Artist/x.mp3", {}, "folder", {}, False) == ["folder Artist"]
    assert group_keys("x.mp3", {}, "folder", {}, False) == []


def test_keys_and_links_both_join():
    keys = [["X"], [], ["Z", "X"], [], ["Y"]]
    groups = joined_groups(["a", "b", "c", "d", "e"], keys, [(1, 2), (3, 4)])
    assert groups == ["X", "X", "X", "Y", "Y"]
    assert joined_groups(["a", "b"], [[], []], []) == ["a", "b"]


ARTISTS = st.lists(st.sampled_from("abcdefgh"), max_size=3)


@given(st.lists(st.tuples(ARTISTS, ARTISTS), min_size=1, max_size=12))
def test_no_artist_that_tags_name_is_in_two_groups(songs):
    tags = [{"artist": names, "albumartist": of_album} for names, of_album in songs]
    keys = [group_keys(f"x/{at}.mp3", each, "artist", {}) for at, each in enumerate(tags)]
    groups = joined_groups([str(at) for at in range(len(songs))], keys, [])
    named = [set(names + of_album) for names, of_album in songs]
    for name in "abcdefgh":
        assert len({g for g, names in zip(groups, named, strict=True) if name in names}) <= 1


def test_one_album_s_discs_are_joined_and_other_artists_hits_are_not():
    def keys(path, artist, **more):
        return group_keys(path, {"album": ["Hits"], "artist": [artist], **more}, "album", {})

    songs = [keys("rock/A/CD1/x", "a"), keys("rock/A/CD2/y", "a"), keys("rock/B/CD1/x", "b")]
    songs += [keys("pop/C/x", "c", albumartist=["VA"]), keys("pop/C/y", "d", albumartist=["VA"])]
    groups = joined_groups(list("vwxyz"), songs, [])
    assert groups[0] == groups[1] != groups[2] and groups[3] == groups[4]
    assert len(set(groups)) == 3


def test_a_table_is_checked(tmp_path):
    table = tmp_path / "groups.csv"
    for encoding in ("utf-8", "utf-8-sig"):  # a spreadsheet puts a mark before the first column
        table.write_text("path,group\njazz/x.mp3,7\n", encoding=encoding)
        assert read_table(str(table), "--group_by", "group") == {"jazz/x.mp3": "7"}
    table.write_text("path,group\n Jazz/é.mp3 ,7\n", encoding="utf-8")
    by_table = read_table(str(table), "--group_by", "group")
    assert group_keys(" Jazz/e\u0301.mp3", {}, str(table), by_table) == ["group 7"]
    assert is_table("groups.csv") and is_table("Groups.TSV") and not is_table("artist")
    for mark in ";\t":
        rows = [("path", "title", "group"), ("jazz/x.mp3", "One, Two", "7")]
        table.write_text("\n".join(map(mark.join, rows)), encoding="utf-8-sig")
        assert read_table(str(table), "--group_by", "group") == {"jazz/x.mp3": "7"}
    table.write_text("path,group\njazz/ä.mp3,7\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"cannot be read: .* expected a CSV file in UTF-8"):
        read_table(str(table), "--group_by", "group")
    table.write_text("file,artist\n")
    with pytest.raises(UserError, match=r"columns 'file', 'artist'; expected 'path'"):
        read_table(str(table), "--group_by", "group")
    table.write_text("")
    with pytest.raises(UserError, match=r"columns none; expected 'path'"):
        read_table(str(table), "--group_by", "group")
    table.write_text(f",{',album' * 30}\ntrack_id\n")
    with pytest.raises(UserError, match=r"columns '', '',( 'album',){8} …; expected 'path'"):
        read_table(str(table), "--group_by", "group")
    with pytest.raises(UserError, match=r"--genre_by '.*none\.csv' cannot be read"):
        read_table(str(tmp_path / "none.csv"), "--genre_by", "genre")


def test_a_quote_that_is_not_closed_takes_in_no_rows(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text('path,group\njazz/12" mix.mp3,1\n"""Heroes"".mp3",2\n"a,b.mp3",3\n')
    found = {'jazz/12" mix.mp3': "1", '"Heroes".mp3': "2", "a,b.mp3": "3"}
    assert read_table(str(table), "--group_by", "group") == found
    for path in ('"Heroes".mp3', '"Heroes/x.mp3'):
        table.write_text(f"path,group\nx.mp3,1\n{path},2\ny.mp3,3\n")
        with pytest.raises(UserError, match=r"cannot be read from line 3 on: .*its own twice"):
            read_table(str(table), "--group_by", "group")

"""The songs of `examples/make_songs.py`, made through its command line."""

import subprocess
import sys
from collections import Counter

import mutagen
import numpy as np
import pytest
import soundfile
from conftest import ROOT

from make_songs import main

GENRES = ["0_house", "1_waltz", "2_bossa", "3_ambient", "4_rock"]


def make_songs(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "examples" / "make_songs.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def samples(folder) -> dict[str, np.ndarray]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): soundfile.read(path)[0] for path in files}


def same_songs(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs") / "new" / "raw"
    counts = [4, 2, 1, 3, 2]
    done = make_songs(folder, "--songs_per_genre", *counts, "--seconds", 2, 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "12 songs" in done.stdout and "4 house, 2 waltz, 1 bossa" in done.stdout
    return folder


def test_every_genre_has_its_folder_and_its_count(library):
    assert sorted(path.name for path in library.iterdir()) == GENRES
    counts = Counter(path.split("/")[0] for path in samples(library))
    assert [counts[genre] for genre in GENRES] == [4, 2, 1, 3, 2]
    assert [path.name for path in library.parent.iterdir()] == ["raw"]


def test_every_file_is_what_its_name_says(library):
    files = [path for path in library.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".wav", ".flac", ".ogg", ".mp3"}
    for path in files:
        info = soundfile.info(path)
        assert info.format == path.suffix[1:].upper()
        assert 1.95 <= info.duration <= 3.05
        tags = mutagen.File(path).tags
        keys = ("artist", "title") if path.suffix in (".flac", ".ogg") else ("TPE1", "TIT2")
        assert " - ".join(str(tags[k][0]) for k in keys) == path.stem


def test_songs_are_sound_without_clipping(library):
    for path, song in samples(library).items():
        assert np.all(np.isfinite(song)), path
        assert 0.2 < np.max(np.abs(song)) < 1, path
        assert np.sqrt(np.mean(song**2)) > 0.01, path


def test_same_seed_same_songs_whatever_the_workers_and_the_count(library, tmp_path):
    again = tmp_path / "again"
    counts = [4, 2, 2, 3, 2]  # one more bossa
    flags = ["--songs-per-genre", *counts, "--seconds", 2, 3, "--num_workers", 1]
    assert make_songs(again, *flags).returncode == 0
    first, second = samples(library), samples(again)
    (added,) = second.keys() - first.keys()
    assert added.startswith("2_bossa/")
    del second[added]
    assert same_songs(first, second)
    for path in first:
        if path.endswith((".wav", ".flac")):
            assert (library / path).read_bytes() == (again / path).read_bytes()


def test_another_seed_makes_other_songs(library, tmp_path):
    other = tmp_path / "other"
    flags = ["--songs_per_genre", 1, "--seconds", 2, 3, "--seed", 1]
    assert make_songs(other, *flags).returncode == 0
    sounds = [song.tobytes() for folder in (library, other) for song in samples(folder).values()]
    assert len(set(sounds)) == len(sounds) == 17
    assert not samples(library).keys() & samples(other).keys()


def refusal(monkeypatch, capfd, *arguments) -> str:
    """What is said, in this process, of arguments that are refused."""
    monkeypatch.setattr(sys, "argv", ["make_songs.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    return told


def test_wrong_settings_are_named_together_in_one_line(tmp_path, monkeypatch, capfd):
    flags = ["--songs_per_genre", 1, 2, "--seconds", 5, 3, "--seed", -1, "--num_workers", 0]
    told = refusal(monkeypatch, capfd, tmp_path / "raw", *flags)
    for words in ("one number or five", "shorter first", "--seed is -1", "--num_workers is 0"):
        assert words in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make_file", [lambda p: p, lambda p: p / "mine.mp3"])
def test_what_is_there_is_never_overwritten(tmp_path, make_file, monkeypatch, capfd):
    mine = make_file(tmp_path / "raw")
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    flags = ["--songs_per_genre", 1, "--seconds", 1, 1]
    assert "is there already" in refusal(monkeypatch, capfd, tmp_path / "raw", *flags)
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]

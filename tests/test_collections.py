"""What docs/collections.md says, done to small collections that are built as the real ones are."""

import csv
import re
import shlex

import pytest
import soundfile
from conftest import ROOT
from datasets import Audio, ClassLabel, Dataset, Features, List, Value
from song_library import RATE, melody, prepare

from genreast.data.audiofolder import load_splits
from genreast.data.columns import label_names
from genreast.data.song_table import read_songs

DOCUMENT = (ROOT / "docs" / "collections.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))


def code(section: str) -> list[str]:
    """The section's blocks of code, in order."""
    return re.findall(r"^```\w*\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)


def write_song(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, melody(seed, 1.0), RATE)


def split_of(number):
    return ["training", "training", "training", "validation", "test"][number % 5]


def make_gtzan(root):
    """Ten songs a genre, of which the lists name all but the last, and one that is no sound."""
    lists = {"training": "train", "validation": "valid", "test": "test"}
    for number in range(20):
        genre = ("blues", "jazz")[number % 2]
        song = f"{genre}/{genre}.{number // 2:05}.wav"
        write_song(root / "genres_original" / song, number)
        if number < 18:
            with open(root / f"{lists[split_of(number // 2)]}_filtered.txt", "a") as file:
                file.write(f"{song}\n")
    (root / "genres_original" / "jazz" / "jazz.00054.wav").write_bytes(b"\x7f\x45" * 500)
    with open(root / "train_filtered.txt", "a") as file:
        file.write("jazz/jazz.00054.wav")  # no end of line


def make_fma(root):
    """Two genres and two tracks an artist; a clip of 0 s, one of another subset, `tracks.csv`."""
    rows = [["", "artist", "set", "set", "track", "track"]]
    rows += [["", "id", "split", "subset", "genre_top", "title"], ["track_id", *[""] * 5]]
    for number in range(20):
        track, artist, genre = 2 + 137 * number, number // 2, ("Rock", "Hip-Hop")[number // 2 % 2]
        rows.append([track, artist, split_of(artist // 2), "small", genre, "Food, part\n2"])
        write_song(root / "fma_small" / f"{track // 1000:03}" / f"{track:06}.mp3", number)
    rows += [[99134, 99, "training", "small", "Rock", ""], [3, 1, "training", "medium", "Pop", ""]]
    (root / "fma_small" / "099").mkdir()
    (root / "fma_small" / "099" / "099134.mp3").touch()
    (root / "fma_metadata").mkdir()
    with open(root / "fma_metadata" / "tracks.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def make_jamendo(root):
    """Ten songs a genre, one artist each, and one song of two genres."""
    folder = root / "data" / "splits" / "split-0"
    folder.mkdir(parents=True)
    for number in range(21):
        track, genre = 214 + number, ("rock", "jazz")[number % 2]
        write_song(root / "audio" / f"{track % 100:02}" / f"{track}.mp3", number)
        tags = [f"genre---{genre}", *["genre---pop"] * (number == 20)]
        names = f"track_{track:07}", f"artist_{number:06}", "album_000031"
        row = [*names, f"{track % 100:02}/{track}.mp3", "1.0", *tags]
        split = split_of(number // 2).replace("training", "train")
        with open(folder / f"autotagging_genre-{split}.tsv", "a") as file:
            if not file.tell():
                file.write("TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n")
            file.write("\t".join(row) + "\n")


@pytest.mark.parametrize(
    ("section", "make", "genres", "songs", "left_out"),
    [
        ("GTZAN", make_gtzan, ["blues", "jazz"], 18, {"no_split": 2, "unreadable": 1}),
        ("FMA", make_fma, ["Hip-Hop", "Rock"], 20, {"unreadable": 1}),
        ("MTG-Jamendo", make_jamendo, ["jazz", "rock"], 20, {"no_split": 1}),
    ],
)
def test_a_collection_becomes_a_dataset_with_its_own_splits(
    section, make, genres, songs, left_out, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    table, command = code(section)
    exec(table, {})
    words = shlex.split(command)
    assert words[:2] == ["python", "prepare_dataset.py"] and prepare(*words[2:]) == 0
    dataset = tmp_path / words[words.index("--output_dir") + 1]
    rows = read_songs(dataset)
    held = {split: sum(row["split"] == split for row in rows) for split in ("validation", "test")}
    assert held == {"validation": 4, "test": songs - 16}
    assert label_names(load_splits(dataset)) == genres
    found = [row["status"] for row in rows]
    assert {status: found.count(status) for status in {*found} - {"used"}} == left_out
    assert found.count("used") == songs and "→" not in capsys.readouterr().err


@pytest.fixture
def run_with(own_hub, tmp_path, monkeypatch):
    """Runs a block of the section on the Hub's datasets with these rows as the one it names."""

    def run(block: int, rows: dict[str, list], features: Features) -> None:
        Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
        place = {"path_in_repo": "data/train.parquet", "repo_type": "dataset"}
        own_hub.upload_file(
            repo_id="alice/songs", path_or_fileobj=tmp_path / "train.parquet", **place
        )
        monkeypatch.chdir(tmp_path)
        exec(code("Datasets of the Hub")[block].replace("USER/NAME", "alice/songs"), {})

    return run


def test_a_dataset_of_the_hub_whose_genres_are_lists_gets_one_of_each(run_with, tmp_path):
    genres = List(ClassLabel(names=["Rock", "Pop"]))
    columns = Features({"audio": Audio(), "artist": Value("string"), "genres": genres})
    rows = {"audio": [{"bytes": b"sound", "path": None}] * 3, "genres": [[0], [0, 1], [1]]}
    run_with(0, {**rows, "artist": ["A", "B", None]}, columns)
    train = load_splits(tmp_path / "songs", label_column="genre")["train"]
    assert train.features["label"].int2str(train["label"][:]) == ["Rock", "Pop"]
    assert train["group"][:] == ["A", "row 1"]


def test_rows_that_cannot_be_decoded_are_left_out_of_a_dataset_of_the_hub(
    run_with, tmp_path, capsys
):
    write_song(tmp_path / "sound.mp3", 0)
    sound = {"bytes": (tmp_path / "sound.mp3").read_bytes(), "path": "sound.mp3"}
    broken = {"bytes": b"no sound", "path": "broken.mp3"}
    rows = {"audio": [sound, broken, None, sound], "label": [0, 0, 1, 1]}
    run_with(1, rows, Features({"audio": Audio(), "label": ClassLabel(names=["Rock", "Pop"])}))
    assert "left out: broken.mp3" in capsys.readouterr().out
    train = load_splits(tmp_path / "songs")["train"]
    assert [audio["path"] for audio in train["audio"]] == ["sound.mp3"] * 2
    assert train["label"][:] == [0, 1]


def test_the_songs_of_a_dataset_of_the_hub_are_prepared_as_files(run_with, tmp_path):
    rows = {"audio": [], "genre": [], "artist": []}
    for number in range(12):
        write_song(tmp_path / f"{number}.mp3", number)
        sound = (tmp_path / f"{number}.mp3").read_bytes() if number else b"no sound"
        rows["audio"].append({"bytes": sound, "path": f"{number}.mp3"})
        rows["genre"].append(number % 2)
        rows["artist"].append(f"artist {number // 4 * 2 + number % 2}")
    columns = {"audio": Audio(), "genre": ClassLabel(names=["Rock", "Pop"])}
    run_with(2, rows, Features({**columns, "artist": Value("string")}))
    assert prepare(*shlex.split(code("Datasets of the Hub")[3])[2:]) == 0
    songs = {row["path"]: row for row in read_songs(tmp_path / "data" / "songs")}
    assert songs["000000.mp3"]["status"] == "unreadable" and songs["000001.mp3"]["genre"] == "Pop"
    assert len({row["group"] for row in songs.values() if row["split"]}) == 6

"""`prepare_dataset.py` as a whole: real files in, a dataset that plain `datasets` loads out."""

import csv
import json
import re
import shutil
from pathlib import Path

import datasets
import mutagen
import numpy as np
import pytest
import soundfile
import torch
from datasets import load_dataset
from song_library import RATE, contents, make_library, melody, prepare

from genreast.arguments import PrepareArguments
from genreast.audio import load_audio
from genreast.config import parse
from genreast.data.audiofolder import SPLITS, dataset_fingerprint, load_splits, preparation
from genreast.data.columns import label_names
from genreast.errors import UserError
from genreast.features import log_mel

ROOT = Path(__file__).resolve().parent.parent
GENRES = {"10_metal": 9, "2_jazz": 6, "0_bro-country": 5, "drum test": 4}
NAMES = ["bro-country", "jazz", "metal", "drum test"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """24 songs in four genres, and every kind of file that is no song."""
    root = make_library(tmp_path_factory.mktemp("raw"), GENRES)
    metal = root / "10_metal"
    (metal / "zero.mp3").touch()
    (metal / "text.mp3").write_text("no sound at all")
    (metal / "cover.jpg").write_bytes(b"\xff\xd8")
    soundfile.write(metal / "silent.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(metal / "click.wav", np.ones(200), RATE)
    with_nan = melody(90, 5)
    with_nan[100:200] = np.nan
    soundfile.write(metal / "nan.wav", with_nan, RATE, subtype="FLOAT")
    shutil.copy(metal / "artist 0" / "Song 0.wav", root / "2_jazz" / "train copy.wav")
    return root


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "dataset"
    assert prepare(raw, "--output_dir", output, "--clip_seconds", 5, "--num_workers", 2) == 0
    return output


def rows(folder) -> dict[str, dict]:
    with open(folder / "songs.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_plain_datasets_loads_three_splits_with_labels_in_the_users_order(prepared, tmp_path):
    plain = load_dataset("audiofolder", data_dir=str(prepared), cache_dir=str(tmp_path))
    ours = load_splits(prepared)
    assert set(plain) == set(ours) == set(SPLITS)
    for split in SPLITS:
        assert plain[split].features["label"].names == NAMES == label_names(ours)
        for column in ("label", "song_id", "group", "start"):
            assert plain[split][column] == ours[split][column]
        for audio in ours[split]["audio"]:
            info = soundfile.info(audio["path"])
            assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")


@pytest.mark.parametrize("form", ["files", "parquet"])
def test_the_page_and_the_readme_say_how_to_load_a_dataset(form, tmp_path, monkeypatch):
    raw = make_library(tmp_path / "raw", {"1_jazz": 3, "0_rock": 3}, (1, 2), ["wav"])
    output = tmp_path / "data" / "processed"
    prepare(raw, "--output_dir", output, "--format", form)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for page, folder in ((output / "README.md", output), (ROOT / "README.md", tmp_path)):
        monkeypatch.chdir(folder)
        line = re.search(r"load_dataset\(.*\)", page.read_text(encoding="utf-8"))[0]
        loaded = eval(line, {"load_dataset": load_dataset})
        assert {split: len(clips) for split, clips in loaded.items()} == dict.fromkeys(SPLITS, 2)
        assert loaded["train"].features["label"].names == ["rock", "jazz"]


def test_every_file_has_a_row_that_says_what_became_of_it(raw, prepared):
    table = rows(prepared)
    files = {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()}
    assert set(table) == files
    status = {path: row["status"] for path, row in table.items() if row["status"] != "used"}
    copies = {"10_metal/artist 0/Song 0.wav", "2_jazz/train copy.wav"}
    dropped = copies & set(status)
    assert len(dropped) == 1
    assert table[dropped.pop()]["matched_to"] in copies
    assert {path: status[path] for path in set(status) - copies} == {
        "10_metal/zero.mp3": "unreadable",
        "10_metal/text.mp3": "unreadable",
        "10_metal/cover.jpg": "not_audio",
        "10_metal/silent.wav": "silent",
        "10_metal/click.wav": "too_short",
    }
    assert "one sound in two genres: 1, such as '10_metal/artist 0/Song 0.wav' and" in (
        prepared / "README.md"
    ).read_text(encoding="utf-8")
    assert "0 bytes" in table["10_metal/zero.mp3"]["reason"]
    assert table["10_metal/nan.wav"]["status"] == "used"


def test_a_near_copy_shares_its_original_s_split_and_is_told_of(tmp_path):
    raw = make_library(tmp_path / "raw", {"jazz": 4, "rock": 4}, seconds=(6, 8))
    song = raw / "rock" / "artist 0" / "Song 0.wav"
    sound, rate = soundfile.read(song)
    soundfile.write(raw / "jazz" / "again.mp3", 0.5 * sound[rate // 10 :], rate)
    assert prepare(raw, "--output_dir", tmp_path / "data") == 0
    table = rows(tmp_path / "data")
    original, copy = table["rock/artist 0/Song 0.wav"], table["jazz/again.mp3"]
    assert (original["matched_to"], copy["matched_to"]) == (copy["path"], original["path"])
    assert original["split"] == copy["split"] and original["group"] == copy["group"]
    page = (tmp_path / "data" / "README.md").read_text(encoding="utf-8")
    assert "near copies: 2 songs sound like another and share its split\n" in page


def test_clips_hold_the_songs_samples(raw, prepared):
    table = rows(prepared)
    song_path = "0_bro-country/artist 1/Song 1.flac"
    song = load_audio(raw / song_path)
    splits = load_splits(prepared)
    row = table[song_path]
    clips = [clip for clip in splits[row["split"]] if clip["song_id"] == row["song_id"]]
    assert len(clips) == int(row["clips"])
    for clip in clips:
        first = round(clip["start"] * RATE)
        expected = song[first : first + 5 * RATE]
        assert np.abs(load_audio(clip["audio"]["path"]) - expected).max() <= 0.5 / 32768 + 1e-7


def test_short_songs_keep_their_one_clip_unpadded(raw, prepared):
    short = [row for row in rows(prepared).values() if row["split"] and float(row["seconds"]) < 5]
    assert short and all(row["clips"] == "1" for row in short)


def test_no_group_song_or_recording_stands_in_two_splits_and_none_lacks_a_genre(prepared):
    seen = {}
    for split, clips in load_splits(prepared).items():
        assert set(clips["label"]) == set(range(len(NAMES)))
        for clip in clips.remove_columns("audio"):
            for key in (("song", clip["song_id"]), ("group", clip["group"])):
                assert seen.setdefault(key, split) == split


def test_statistics_equal_two_passes_over_the_clips(prepared):
    clips = [load_audio(audio["path"]) for audio in load_splits(prepared)["train"]["audio"]]
    values = torch.cat([log_mel(torch.from_numpy(clip)[None])[0] for clip in clips]).double()
    stats = json.loads((prepared / "feature_stats.json").read_text())
    assert stats["frames"] == len(values)
    assert stats["mean"] == pytest.approx(values.mean().item(), abs=1e-5)
    assert stats["std"] == pytest.approx(values.std(correction=0).item(), abs=1e-5)


def test_the_bytes_depend_on_songs_and_seed_alone(raw, prepared, tmp_path):
    for number, workers in enumerate((1, 3)):
        output = tmp_path / str(number) / "dataset"
        prepare(raw, "--output_dir", output, "--clip_seconds", 5, "--num_workers", workers)
        assert contents(output) == contents(prepared)
    assert dataset_fingerprint(load_splits(output)) == dataset_fingerprint(load_splits(prepared))
    other = tmp_path / "seed"
    prepare(raw, "--output_dir", other, "--clip_seconds", 5, "--seed", 1)
    assert dataset_fingerprint(load_splits(other)) != dataset_fingerprint(load_splits(prepared))


def test_shards_hold_the_same_clips(raw, prepared, tmp_path):
    output = tmp_path / "dataset"
    prepare(raw, "--output_dir", output, "--clip_seconds", 5, "--format", "parquet")
    assert not list(output.rglob("*.flac"))
    files, shards = load_splits(prepared), load_splits(output)
    for split in SPLITS:
        # In shards the songs stand in another order, which mixes the genres.
        rows = [
            sorted(rows[split], key=lambda row: (row["song_id"], row["start"]))
            for rows in (files, shards)
        ]
        for file, shard in zip(*rows, strict=True):
            with open(file["audio"]["path"], "rb") as clip:
                assert shard["audio"]["bytes"] == clip.read()
            assert {**file, "audio": 0} == {**shard, "audio": 0}
    labels = shards["train"]["label"]
    assert labels != sorted(labels)


def test_songs_added_later_leave_the_others_in_their_splits(raw, prepared, tmp_path):
    more = tmp_path / "raw"
    shutil.copytree(raw, more)
    for number in range(12):
        soundfile.write(more / "2_jazz" / f"0 new {number}.wav", melody(200 + number, 5), RATE)
    output = tmp_path / "dataset"
    shutil.copytree(prepared, output)
    with pytest.raises(UserError, match="stands already; add --update"):
        prepare(more, "--output_dir", output, "--clip_seconds", 5)
    assert contents(output) == contents(prepared)
    prepare(more, "--output_dir", output, "--clip_seconds", 5, "--update")
    before, after = rows(prepared), rows(output)
    assert len(after) == len(before) + 12
    assert {path: after[path]["split"] for path in before} == {
        path: row["split"] for path, row in before.items()
    }
    five = tmp_path / "ten seconds"
    prepare(more, "--output_dir", five, "--splits_from", output)
    assert {p: r["split"] for p, r in rows(five).items()} == {
        p: r["split"] for p, r in after.items()
    }


def test_the_sound_not_the_name_decides_where_a_song_was(tmp_path, capsys):
    raw = make_library(tmp_path / "raw", {"jazz": 6, "rock": 6}, seconds=(1, 2), suffixes=["wav"])
    output = tmp_path / "dataset"
    prepare(raw, "--output_dir", output)
    before = {row["recording"]: row["split"] for row in rows(output).values()}
    jazz = [row for row in rows(output).values() if row["genre"] == "jazz"]
    held_out, *_, trained = sorted(jazz, key=lambda row: row["split"] == "train")
    one, other = raw / held_out["path"], raw / trained["path"]
    other.rename(raw / "aside")
    one.rename(other)
    (raw / "aside").rename(one)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update")
    assert {row["recording"]: row["split"] for row in rows(output).values()} == before
    assert "not stay in" not in capsys.readouterr().err
    other.unlink()  # the held-out song: its genre needs another one
    prepare(raw, "--output_dir", output, "--update")
    told = capsys.readouterr().err
    assert "not stay in their split: 1, such as 'jazz/" in told
    assert f"(train → {held_out['split']})" in told


def test_strict_reports_what_was_left_out_after_the_work(raw, tmp_path, capsys):
    flags = ("--clip_seconds", 5, "--max_clips_per_song", 1, "--feature_stats", "false")
    assert prepare(raw, "--output_dir", tmp_path / "a", *flags, "--strict") == 1
    assert (tmp_path / "a" / "train").is_dir()
    assert not (tmp_path / "a" / "feature_stats.json").exists()
    assert "2 unreadable" in capsys.readouterr().out


def test_a_genre_may_be_named_all(tmp_path, capsys):
    root = make_library(tmp_path / "raw", {"all": 3, "jazz": 4}, seconds=(1, 2))
    assert prepare(root, "--output_dir", tmp_path / "dataset") == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    songs = [sum(map(int, cells[1::3])) for cells in table if cells and cells[0] == "all"]
    assert songs == [3, 7]  # the genre, then the sum


def test_copies_may_be_left_to_be_songs_of_their_own_and_stay_where_they_are(tmp_path, capsys):
    root = make_library(tmp_path / "raw", {"jazz": 1, "rock": 3}, seconds=(1, 2))
    for number in range(2):  # so each split holds the same jazz
        shutil.copy(root / "jazz" / "artist 0" / "Song 0.wav", root / "jazz" / f"{number}.wav")
    output = tmp_path / "dataset"
    assert prepare(root, "--output_dir", output, "--duplicates", "ignore") == 0
    table = rows(output)
    assert all(row["status"] == "used" and not row["matched_to"] for row in table.values())
    assert {row["split"] for path, row in table.items() if path.startswith("jazz")} == set(SPLITS)
    prepare(root, "--output_dir", output, "--duplicates", "ignore", "--update")
    assert rows(output) == table and "not stay in" not in capsys.readouterr().err


def test_groups_by_folder_stay_together(raw, tmp_path):
    output = tmp_path / "dataset"
    prepare(raw, "--output_dir", output, "--group_by", "folder", "--max_clips_per_song", 1)
    splits = {}
    for path, row in rows(output).items():
        if row["split"] and "artist" in path:
            assert splits.setdefault(path.rpartition("/")[0], row["split"]) == row["split"]


def test_where_every_song_is_its_own_group_none_is_said_to_lack_one(prepared):
    facts = json.loads((prepared / "preparation.json").read_text(encoding="utf-8"))
    assert facts["group_by"] == "song" and "songs_without_group" not in facts
    assert "have none" not in (prepared / "README.md").read_text(encoding="utf-8")


def test_songs_that_name_no_artist_are_told_of_on_the_page(tmp_path, capsys):
    """But not of one that sounds as one that does: it stands in the group of that artist."""
    raw = make_library(tmp_path / "raw", {"jazz": 4, "rock": 3}, (2, 3), ["flac"])
    output = tmp_path / "data"
    paths = sorted(raw.rglob("*.flac"))
    samples, _ = soundfile.read(paths[0])
    soundfile.write(paths[0].with_name("copy.flac"), samples / 2, RATE)
    tagged = mutagen.File(paths[0])
    tagged["artist"] = "Björk"
    tagged.save()
    prepare(raw, "--output_dir", output, "--group_by", "artist", "--num_workers", 1)
    assert "6 of 8 songs name no artist in their tags: each is" in capsys.readouterr().err
    assert preparation(output)["songs_without_group"] == 6
    page = (output / "README.md").read_text()
    assert "here by artist; 6 of 8 songs have none, and each is its own)" in page
    assert "cut into 8 clips of at most 10 s," in page


def test_foreign_audio_folders_load_with_each_file_its_own_song(tmp_path):
    for split in ("train", "test"):
        for genre in ("b", "a"):
            path = tmp_path / "data" / split / genre / f"{split} {genre}.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, melody(1, 1), RATE)
    splits = load_splits(tmp_path / "data")
    assert label_names(splits) == ["a", "b"]
    assert len(set(splits["train"]["song_id"])) == 2


@pytest.mark.parametrize("config", sorted((ROOT / "configs" / "prepare").glob("*.yaml")))
def test_shipped_configs_are_accepted(config):
    settings = parse(PrepareArguments, argv=[str(config), "songs"])
    if config.stem == "base":
        assert settings == PrepareArguments("songs")

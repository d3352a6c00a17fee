"""The main job on real music, through the real command line, from folders to a staged Hub page."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from datasets import ClassLabel, load_dataset
from transformers import pipeline

GENRES = ["house", "jazz", "latin_percussion", "lofi_hiphop", "pop_rock", "ragtime"]
GENRES += ["samba", "tr808_edm", "trap"]


def script(name: str, *words, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / name), *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert result.returncode == 0, f"{name}: {result.stderr[-3000:]}"
    return result


@pytest.fixture(scope="module")
def work(tmp_path_factory, shared_audio) -> Path:
    """A working folder after every step: data, model, evaluation, staging."""
    work = tmp_path_factory.mktemp("work")
    raw = shared_audio / "waivops_mini"
    script("prepare_dataset.py", raw, "--output_dir", "data", "--max_clips_per_song", 1,
           "--val_fraction", 0.2, "--test_fraction", 0.2, cwd=work)  # fmt: skip
    script("train_hf.py", ROOT / "configs/demo.yaml", "--dataset", "data", "--output_dir", "model",
           "--num_train_epochs", 1, cwd=work)  # fmt: skip
    script("evaluate_model.py", "model", "--dataset", "data", "--split", "test",
           "--output_dir", "evaluation", cwd=work)  # fmt: skip
    script("push_to_hub.py", "model", "someone/genres", "--evaluation", "evaluation", "--dry_run",
           "--staging_dir", "staged", cwd=work)  # fmt: skip
    return work


def test_the_dataset_loads_as_any_audiofolder_does(work):
    splits = load_dataset("audiofolder", data_dir=str(work / "data"), cache_dir=work / "cache")
    assert set(splits) == {"train", "validation", "test"}
    for split in splits.values():
        assert split.features["label"] == ClassLabel(names=GENRES)
        assert {"audio", "song_id", "group", "start"} <= set(split.column_names)
    assert set(splits["test"]["label"]) == set(range(9))
    songs = [set(split["song_id"]) for split in splits.values()]
    assert sum(map(len, songs)) == len(set.union(*songs))


def test_every_file_of_the_folder_is_accounted_for(work, shared_audio):
    with open(work / "data/songs.csv", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    files = [path for path in (shared_audio / "waivops_mini").rglob("*") if path.is_file()]
    assert {str(path.relative_to(shared_audio / "waivops_mini")) for path in files} == set(rows)
    assert all(row["status"] for row in rows.values())


def test_the_evaluation_covers_the_test_split(work):
    metrics = json.loads((work / "evaluation/metrics.json").read_text())
    splits = load_dataset("audiofolder", data_dir=str(work / "data"), cache_dir=work / "cache")
    assert metrics["clip"]["count"] == len(splits["test"])
    assert metrics["song"]["count"] == len(set(splits["test"]["song_id"]))
    for name in ("predictions.csv", "songs.csv", "confusion_matrix.png"):
        assert (work / "evaluation" / name).stat().st_size > 0


def test_prediction_hears_a_whole_song(work, shared_audio):
    song = max((shared_audio / "waivops_mini/ragtime").iterdir(), key=lambda p: p.stat().st_size)
    result = script("predict_song.py", "model", song, "--format", "json", "--top_k", 9, cwd=work)
    answer = json.loads(result.stdout)
    assert answer["seconds"] > 60 and answer["windows"] > 6
    assert {genre["label"] for genre in answer["genres"]} == set(GENRES)
    assert sum(genre["score"] for genre in answer["genres"]) == pytest.approx(1)


def test_the_staged_folder_is_a_model_that_pipeline_loads(work, shared_audio):
    staged = work / "staged"
    assert "audio-classification" in (staged / "README.md").read_text()
    assert not list(staged.rglob("*.bin")) and not list(staged.rglob("optimizer*"))
    song = next((shared_audio / "waivops_mini/samba").iterdir())
    scores = pipeline("audio-classification", model=str(staged), top_k=None)(str(song))
    assert {score["label"] for score in scores} == set(GENRES)

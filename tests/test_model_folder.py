"""What a run records of how its model was made: enough to do it again, and nothing private."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import yaml
from conftest import run_training

from genreast.data.audiofolder import load_splits
from genreast.training.model_folder import training_config


def test_a_dataset_from_the_hub_is_recorded_as_one(make_trainer, genre_dataset):
    trainer = make_trainer(dataset="alice/songs")
    record = training_config(trainer.args, trainer, load_splits(genre_dataset), {}, {})["dataset"]
    assert (record["name"], record["on_hub"]) == ("alice/songs", True)


def test_settings_that_the_trainer_makes_objects_of_are_written_down(
    short_start, genre_dataset, tmp_path
):
    flags = ["--accelerator_config", '{"even_batches": false}', "--debug", "underflow_overflow"]
    run_training(short_start, genre_dataset, tmp_path / "model", *flags, "--max_steps", "1")
    written = yaml.safe_load((tmp_path / "model/training_config.yaml").read_text())["settings"]
    assert written["accelerator_config"]["even_batches"] is False
    assert written["debug"] == ["underflow_overflow"]


def test_the_record_names_no_folder_above_and_the_next_command_can_be_pasted(
    short_start, genre_dataset, tmp_path, monkeypatch, capsys
):
    """`../../home/alice/songs` names whoever trained as well as an absolute path does."""
    here = tmp_path / "work"
    here.mkdir()
    monkeypatch.chdir(here)
    data = shutil.copytree(genre_dataset, tmp_path / "alice" / "my songs")
    theirs = os.path.relpath(data, here)
    monkeypatch.setattr(sys, "argv", ["train_hf.py", "--dataset", theirs, f"--x={theirs}"])
    column = ["--song_column", "group"]
    run_training(short_start, theirs, Path("my model"), "--max_steps", "1", *column)
    text = Path("my model/training_config.yaml").read_text()
    record = yaml.safe_load(text)
    assert "alice" not in text and str(tmp_path) not in text
    assert record["settings"]["dataset"] == record["dataset"]["name"] == "my songs"
    assert record["command"] == "train_hf.py --dataset 'my songs' '--x=my songs'"
    following = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    words = ["python", "evaluate_model.py", "my model", "--dataset", theirs]
    assert shlex.split(following) == [*words, "--split", "validation", *column]

"""What docs/studies.md says, done to small datasets and models."""

import re
import shlex
import shutil

import pandas as pd
from conftest import ROOT
from song_library import make_library, prepare

from genreast.config import parse
from genreast.data.song_table import read_songs
from genreast.training.recipe import TrainArguments

DOCUMENT = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
RUNS, TABLE, FOLDS, PREPARE = re.findall(r"^```\w*\n(.*?)^```$", DOCUMENT, re.M | re.S)


def in_shell(loop: str, **values: str) -> list[list[str]]:
    """The scripts' words of a shell's loop, its variables given."""
    for name, value in values.items():
        loop = loop.replace(f"${{{name}}}", value).replace(f"${name}", value)
    lines = [line for line in loop.splitlines() if line.strip().startswith("python")]
    return [shlex.split(line)[1:] for line in lines]


def test_the_commands_of_the_runs_are_taken(monkeypatch):
    monkeypatch.chdir(ROOT)
    train, _ = in_shell(RUNS, exponent="0.5", seed="1", run="one")
    args = parse(TrainArguments, argv=train[1:])
    assert (args.sampling_exponent, args.seed, args.output_dir) == (0.5, 1, "models/one")


def test_the_table_of_runs_holds_settings_and_scores(
    finished, genre_dataset, evaluate_model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _, evaluate = in_shell(RUNS, exponent="0", seed="0", run="one")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one").symlink_to(finished)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "processed").symlink_to(genre_dataset)
    status, shown, _ = evaluate_model(*evaluate[1:])
    assert status == 0
    shutil.copytree("evaluation/one", "evaluation/two")
    exec(TABLE, {})
    runs = pd.read_csv("runs.csv")
    assert list(runs["run"]) == ["one", "two"] and set(runs["sampling_exponent"]) == {0}
    assert f"{runs['macro F1'][0]:.3f}" in shown
    assert {"rock", "jazz", "disco"} < set(runs.columns)


def test_folds_test_each_song_once_and_keep_groups_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = make_library(tmp_path / "path/to/songs", {"jazz": 10, "NA": 10}, (1.0, 1.5), ("wav",))
    shutil.copyfile(raw / "jazz/artist 0/Song 0.wav", raw / "jazz/again.wav")
    assert prepare(raw, "--output_dir", "data/processed") == 0
    exec(FOLDS, {})
    tables = [pd.read_csv(f"fold_{number}.csv", keep_default_na=False) for number in range(5)]
    assert set(tables[0]["genre"]) == {"jazz", "NA"}
    tested = pd.concat(table[table["split"] == "test"] for table in tables)
    assert sorted(tested["path"]) == sorted(tables[0]["path"]) and len(tested) == 20
    [words] = in_shell(PREPARE, fold="0")
    assert prepare(*words[1:]) == 0
    songs = read_songs(tmp_path / "data/fold_0")
    used = {song["path"]: song["split"] for song in songs if song["split"]}
    assert used == dict(zip(tables[0]["path"], tables[0]["split"], strict=True))

"""`push_to_hub.py` as it is run, against a Hub on loopback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from hub_store import files_of
from huggingface_hub import HfApi, constants
from trained_model import GENRES, PUBLISHED, make_evaluation, make_model_dir

import push_to_hub
from genreast.arguments import PushArguments
from genreast.config import parse
from genreast.errors import UserError, run
from genreast.publishing import score_check
from genreast.publishing.hub import publish
from genreast.publishing.steps import Parcel, pack

PIPELINE = """
import json, sys
from transformers import pipeline
scores = pipeline("audio-classification", model=sys.argv[1])(sys.argv[2], top_k=None)
print(json.dumps({row["label"]: row["score"] for row in scores}))
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("models") / "first")


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory, model_dir) -> Path:
    return make_evaluation(tmp_path_factory.mktemp("evaluation") / "first", model_dir)


def run_script(hub, home, *arguments, token="hf_alice") -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "push_to_hub.py"), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    environment |= hub.environment(home, token)
    return subprocess.run(command, env=environment, cwd=home.parent, capture_output=True, text=True)


def packed(*arguments: str) -> list[Parcel]:
    """What the script would publish, in this process."""
    args = parse(PushArguments, argv=list(arguments))
    with pack(args, ROOT / "model_card.md", ROOT / "examples" / "space") as parcels:
        return parcels


def run_python(hub, home, *command):
    """The JSON that a fresh process with an empty cache prints."""
    environment = os.environ | hub.environment(home, "hf_alice")
    output = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True
    )
    assert output.returncode == 0, output.stderr
    return json.loads(output.stdout)


def test_a_published_model_gives_in_a_fresh_process_the_scores_it_gives_here(
    hub, tmp_path, model_dir, evaluation
):
    song = tmp_path / "song.wav"
    seconds = np.arange(160_000) / 16_000
    sound = np.sin(2 * np.pi * (200 + 50 * seconds) * seconds) * np.sin(2 * np.pi * 2 * seconds)
    soundfile.write(song, 0.5 * sound, 16_000)

    pushed = run_script(
        hub, tmp_path / "home", model_dir, "alice/genre", "--evaluation", evaluation, "--private"
    )
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.split() == [f"{hub.url}/alice/genre"]
    assert pushed.stderr.count("state no licence: name yours with --license") == 1
    assert hub.repo("alice/genre").private
    files = files_of(hub.repo("alice/genre").at("main"))
    assert files == {*PUBLISHED, next(name for name in files if "tfevents" in name)}

    predict = [str(ROOT / "predict_song.py"), "alice/genre", str(song), "--format", "json"]
    predicted = run_python(hub, tmp_path / "empty", *predict)
    predicted = {row["label"]: row["score"] for row in predicted["genres"]}
    published = run_python(hub, tmp_path / "empty2", "-c", PIPELINE, "alice/genre", str(song))
    assert published.keys() == set(GENRES)
    assert published == pytest.approx(predicted, abs=1e-3)
    assert max(published.values()) > 0.4, "scores all alike would compare equal to anything"


def test_what_one_run_publishes_no_other_replaces(hub, tmp_path, model_dir, monkeypatch):
    """Its weights with the other's page, say, which nobody would have checked."""
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    command = [str(model_dir), "alice/genre", "--staging_dir", str(tmp_path / "staged")]
    refused = []

    def publish_too():
        with pytest.raises(UserError, match=r"another run is publishing '.*/staged'; wait") as told:
            packed(*command, "--license", "mit")
        refused.append(told)

    hub.fail("commit", act=publish_too)
    pushed = run_script(hub, tmp_path / "home", *command, "--license", "cc0-1.0")
    assert pushed.returncode == 0, pushed.stderr
    assert len(refused) == 1
    assert hub.repo("alice/genre").card_data("main")["license"] == "cc0-1.0"
    assert not list(tmp_path.glob(".publishing-*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--license", "mit"], ["--license is of a model: name its folder, MODEL_DIR"]),
        (["--evaluation", "e", "--license", "mit"], ["--evaluation is of", "--license is of"]),
    ],
)
def test_flags_of_a_model_without_one_are_refused(flags, words):
    command = ["--dataset_dir", "data", "--dataset_repo", "alice/songs", *flags]
    with pytest.raises(UserError) as refusal:
        parse(PushArguments, argv=command)
    assert all(each in str(refusal.value) for each in words)


@pytest.mark.parametrize("flag", ["--dataset_license=mit", "--dataset_format=audiofolder"])
def test_flags_of_a_dataset_without_one_are_refused(flag):
    command = ["model", "alice/genre", "--dataset_repo", "alice/songs"]
    assert parse(PushArguments, argv=command).dataset_repo == "alice/songs"
    with pytest.raises(UserError, match="name its folder as --dataset_dir"):
        parse(PushArguments, argv=[*command, flag])


@pytest.mark.parametrize("repo_id", ["genre", "alice/my genre", "alice/genre/v1"])
def test_a_wrong_repo_id_is_named(repo_id):
    with pytest.raises(UserError, match=f"'{repo_id}' is not a Hub id; expected USER/NAME"):
        parse(PushArguments, argv=["model", repo_id])


def test_a_mistake_is_named_before_the_network_is_touched(hub, tmp_path):
    output = run_script(hub, tmp_path / "home", tmp_path, "genre")
    assert output.returncode == 2, output.stderr
    assert "'genre' is not a Hub id" in output.stderr and "Traceback" not in output.stderr
    assert not hub.calls


def test_a_dry_run_stages_all_side_by_side_and_uploads_nothing_and_wants_no_token(
    hub, tmp_path, model_dir, genre_dataset
):
    data = shutil.copytree(genre_dataset, tmp_path / "processed")
    options = ["--dataset_dir", data, "--dataset_repo", "alice/songs", "--space", "alice/page"]
    options += ["--license", "mit", "--dry_run", "--staging_dir", tmp_path / "staged"]
    output = run_script(hub, tmp_path / "home", model_dir, "alice/genre", *options, token=None)
    assert output.returncode == 0, output.stderr
    assert "--license" not in output.stderr
    names = ["staged-dataset", "staged", "staged-space"]
    assert output.stdout.split() == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name / "README.md").is_file() for name in names)
    assert not (tmp_path / "processed-hub_staging").exists()
    assert not hub.calls


def test_neighbours_of_the_folder_that_one_stands_in_have_its_name(
    tmp_path, model_dir, evaluation, genre_dataset, monkeypatch, capsys
):
    """And a dataset that the model was neither trained nor measured on is not taken for its own."""
    ours, heard_in = score_check.known_clips, []
    monkeypatch.setattr(
        score_check, "known_clips", lambda *given: heard_in.append(given[-1]) or ours(*given)
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    command = [str(model_dir), "alice/genre", "--staging_dir", ".", "--space", "alice/page"]
    command += ["--evaluation", str(evaluation)]
    command += ["--dataset_dir", str(genre_dataset), "--dataset_repo", "alice/songs"]
    parcels = packed(*command)
    names = ["here-dataset", "here", "here-space"]
    assert [parcel.folder for parcel in parcels] == [tmp_path / name for name in names]
    told = f"'{genre_dataset}' is another dataset than the model's: the model's page does not name"
    assert f"{told} alice/songs\n" in capsys.readouterr().err
    assert "alice/songs" not in (tmp_path / "here" / "README.md").read_text()
    assert heard_in == [None], "its clips may have the names of those measured"


def test_songs_without_a_licence_go_to_a_private_dataset(hub, tmp_path, genre_dataset, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    dataset_dir = shutil.copytree(genre_dataset, tmp_path / "processed")
    options = ["--dataset_dir", str(dataset_dir), "--dataset_repo", "alice/songs"]
    [parcel] = packed(*options)
    assert parcel.note == "no --dataset_license, so it is kept private"
    published = publish(parcel.folder, parcel.destination, api=HfApi(endpoint=hub.url))
    assert published.url == f"{hub.url}/datasets/alice/songs"
    assert hub.repo("alice/songs", "dataset").private
    [parcel] = packed(*options, "--dataset_license", "cc-by-4.0")
    assert parcel.note == "cc-by-4.0" and not parcel.destination.private


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--license", "free"], "licence 'free' is not known"),
        (["--license", "mit", "--evaluation", "nowhere"], "'nowhere' is not an evaluation"),
    ],
)
def test_a_mistake_with_the_model_is_told_before_the_dataset_is_staged(
    tmp_path, model_dir, genre_dataset, flags, words
):
    staged = ["--dataset_repo", "alice/songs", "--staging_dir", str(tmp_path / "staged")]
    with pytest.raises(UserError, match=words):
        packed(str(model_dir), "alice/genre", "--dataset_dir", str(genre_dataset), *staged, *flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [("HF_TOKEN", "no Hub token found"), ("HF_HUB_OFFLINE", "HF_HUB_OFFLINE is set")],
)
def test_that_nothing_can_be_sent_is_told_before_anything_is_staged(
    tmp_path, model_dir, monkeypatch, capsys, name, words
):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", name == "HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    staged = tmp_path / "staged"
    command = ["push_to_hub.py", str(model_dir), "alice/genre", "--staging_dir", str(staged)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        run(push_to_hub.main)
    assert stop.value.code == 2 and words in capsys.readouterr().err
    assert not staged.exists()


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json, no model\.safetensors"):
        packed(str(tmp_path), "alice/genre")

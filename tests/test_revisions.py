"""A model or dataset on the Hub at a branch, a tag or a commit: USER/NAME@REVISION."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import run_training
from huggingface_hub import ModelCard, constants
from safetensors.numpy import load_file, save_file
from trained_model import make_model_dir

from genreast.data.audiofolder import load_splits
from genreast.errors import UserError
from genreast.hub_files import file_of
from genreast.hub_ids import could_be_on_the_hub, split_revision
from genreast.inference import GenreClassifier
from genreast.pretrained import RECORD_FILE, WEIGHTS_FILE, weights_fingerprint
from genreast.publishing.model_card import render
from genreast.publishing.model_facts import ModelFacts, read_facts
from genreast.publishing.staging import stage_model
from genreast.training.model import from_pretrained, statistics_of
from genreast.training.shards import read_shards

TEMPLATE = Path(__file__).resolve().parent.parent / "model_card.md"
COLUMNS = ("audio", "label", "song_id")
DATASET = {"repo_id": "alice/songs", "repo_type": "dataset"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("alice/genre", ("alice/genre", None)),
        ("alice/genre@v1.0", ("alice/genre", "v1.0")),
        ("alice/genre@refs/pr/1", ("alice/genre", "refs/pr/1")),
        ("alice/genre@", ("alice/genre", "")),
        ("alice/genre@a@b", ("alice/genre", "a@b")),
    ],
)
def test_a_revision_stands_after_the_name(name, parts):
    assert split_revision(name) == parts
    assert could_be_on_the_hub(name) == (parts[1] != "")


def test_what_is_there_on_this_machine_is_a_path(tmp_path, monkeypatch, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "take@2" / "model@best")
    monkeypatch.chdir(tmp_path / "take@2")
    for name in ("model@best", str(tmp_path / "take@2" / "model@best")):
        assert split_revision(name) == (name, None)
        assert GenreClassifier.from_pretrained(name).labels


@pytest.fixture
def two_versions(own_hub, tiny_model, tmp_path):
    """alice/genre with other weights on main than at its tag v1, its first commit and its request.
    Gives the revisions, and the folder of the weights of each.
    """
    folders = [shutil.copytree(tiny_model, tmp_path / name) for name in ("first", "second")]
    weights = load_file(folders[1] / WEIGHTS_FILE)
    save_file({k: np.flip(v, -1).copy() for k, v in weights.items()}, folders[1] / WEIGHTS_FILE)
    place = {"repo_id": "alice/genre"}
    first = own_hub.upload_folder(folder_path=folders[0], **place).oid
    own_hub.create_tag(tag="v1", **place)
    request = own_hub.upload_folder(folder_path=folders[1], create_pr=True, **place)
    own_hub.upload_folder(folder_path=folders[1], **place)
    return {
        "": folders[1],
        "@v1": folders[0],
        f"@{first}": folders[0],
        f"@{request.pr_revision}": folders[1],
    }


def test_the_weights_are_those_of_the_revision(two_versions, song_files):
    song = song_files["ten"]
    for revision, folder in two_versions.items():
        name = f"alice/genre{revision}"
        heard, here = (GenreClassifier.from_pretrained(each)(song) for each in (name, str(folder)))
        assert np.array_equal(heard.probabilities, here.probabilities), name
        assert weights_fingerprint(name) == weights_fingerprint(folder)
        assert statistics_of(name) == statistics_of(str(folder))
        start = from_pretrained(name).classifier.dense.weight
        assert np.array_equal(
            start.detach().numpy(), load_file(folder / WEIGHTS_FILE)["classifier.dense.weight"]
        )


def test_what_training_began_from_is_recorded_with_its_commit(
    two_versions, genre_dataset, tmp_path, own_hub
):
    commit = own_hub.model_info("alice/genre", revision="v1").sha
    model_dir = tmp_path / "model"
    run_training("alice/genre@v1", genre_dataset, model_dir, "--max_steps", "1")
    record = yaml.safe_load((model_dir / RECORD_FILE).read_text())
    assert record["base_model"] == "alice/genre@v1" and record["base_model_commit"] == commit
    stage_model(model_dir, None, tmp_path / "staged", lambda _: "")
    page = render(read_facts(tmp_path / "staged", "alice/mine"), TEMPLATE)
    assert f"[alice/genre](https://huggingface.co/alice/genre/tree/{commit})" in page
    assert ModelCard(page).data.base_model == "alice/genre"


def test_a_revision_that_is_not_there_is_told(two_versions, monkeypatch):
    words = r"has no such revision: after @ name a branch, a tag or a commit of it"
    for read in (GenreClassifier.from_pretrained, from_pretrained, statistics_of):
        with pytest.raises(UserError, match=rf"model 'alice/genre@v9' {words}"):
            read("alice/genre@v9")
    for read in (load_splits, read_shards):
        with pytest.raises(UserError, match=rf"dataset 'alice/songs@v9' {words}"):
            read("alice/songs@v9", *COLUMNS)
    for empty in ("alice/genre@", "@v1"):
        with pytest.raises(UserError, match="is not there: expected a model folder or a Hub id"):
            GenreClassifier.from_pretrained(empty)


def test_a_dataset_is_read_as_it_was(own_hub, sharded):
    shards = sorted((sharded / "data").glob("*.parquet"))
    train = next(shard for shard in shards if shard.name.startswith("train"))
    held_out = next(shard for shard in shards if shard.name.startswith("validation"))
    for number, shard in enumerate((train, held_out)):
        own_hub.upload_file(
            path_or_fileobj=shard, path_in_repo="data/train-00000-of-00001.parquet", **DATASET
        )
        own_hub.create_branch(branch=f"version-{number}", **DATASET)
    songs = {}
    for revision in ("", "@version-0", "@version-1"):
        loaded = load_splits(f"alice/songs{revision}", *COLUMNS)["train"]["song_id"][:]
        splits, _ = read_shards(f"alice/songs{revision}", *COLUMNS)
        assert splits["train"]["song_id"][:] == loaded
        songs[revision] = set(loaded)
    assert songs["@version-1"] == songs[""]
    assert songs["@version-0"].isdisjoint(songs[""])


def test_what_to_ask_once_names_the_revision(own_hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    command = f"hf download alice/genre {RECORD_FILE} --revision v1`"
    with pytest.raises(UserError, match=re.escape(command)):
        file_of("alice/genre@v1", RECORD_FILE)


def test_the_page_of_a_branch_loads_the_branch():
    facts = ModelFacts("alice/genre", genres=["a", "b"], revision="wide")
    page = render(facts, TEMPLATE)
    assert 'model="alice/genre", revision="wide")' in page
    assert page.count('from_pretrained("alice/genre", revision="wide")') == 2
    assert "predict_song.py alice/genre@wide song.mp3" in page


def test_the_page_names_the_repository_of_what_it_began_from(tmp_path):
    start = {"base_model": "bob/start@v2", "settings": {"model_name_or_path": "bob/start@v2"}}
    start["dataset"] = {"name": "bob/songs@v3", "on_hub": True}
    model_dir = make_model_dir(tmp_path / "model")
    (model_dir / RECORD_FILE).write_text(yaml.safe_dump(start))
    stage_model(model_dir, None, tmp_path / "staged", lambda _: "")
    facts = read_facts(tmp_path / "staged", "alice/genre")
    assert (facts.base_model, facts.trained_on) == ("bob/start", "bob/songs")
    assert "bob/start@v2" in (tmp_path / "staged" / RECORD_FILE).read_text()

"""A small file of a Hub repository: there, not there, or nobody can tell."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT
from huggingface_hub import HfApi, constants

from genreast.data.audiofolder import dataset_fingerprint, load_splits
from genreast.errors import UserError
from genreast.feature_stats import STATS_FILE
from genreast.inference import GenreClassifier
from genreast.pretrained import RECORD_FILE
from genreast.training.held_out import as_trained, training_record, with_validation
from genreast.training.model import AUDIOSET_MEAN, AUDIOSET_STD, from_pretrained, statistics_of
from genreast.training.shards import read_shards
from genreast.training.start import normalisation

ALWAYS = 10**6
SETTINGS = SimpleNamespace(dataset="alice/songs", from_scratch="tiny", model_name_or_path="")


def add_statistics(api: HfApi) -> None:
    content = json.dumps({"mean": -6.5, "std": 3.5, "frames": 10}).encode()
    place = {"repo_id": "alice/songs", "repo_type": "dataset", "path_in_repo": STATS_FILE}
    api.upload_file(path_or_fileobj=content, **place)


def test_statistics_that_the_hub_does_not_give_are_not_taken_for_none(own_hub, hub, monkeypatch):
    add_statistics(own_hub)
    hub.fail("resolve", 503, times=ALWAYS)
    with pytest.raises(UserError, match="is not known, for the Hub cannot be reached") as down:
        normalisation(SETTINGS)
    command = f"hf download alice/songs {STATS_FILE} --repo-type dataset"
    assert command in str(down.value) and STATS_FILE in str(down.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"for the Hub is off \(HF_HUB_OFFLINE\)"):
        normalisation(SETTINGS)

    hub.faults.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert normalisation(SETTINGS) == (-6.5, 3.5)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert normalisation(SETTINGS) == (-6.5, 3.5)


def test_that_a_dataset_has_no_statistics_is_remembered(own_hub, monkeypatch):
    assert normalisation(SETTINGS) == (AUDIOSET_MEAN, AUDIOSET_STD)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert normalisation(SETTINGS) == (AUDIOSET_MEAN, AUDIOSET_STD)


def test_what_a_start_on_the_hub_was_trained_with_is_not_guessed(own_hub, hub, tiny_model):
    name = "preprocessor_config.json"
    own_hub.upload_file(path_or_fileobj=tiny_model / name, repo_id="alice/genre", path_in_repo=name)
    hub.fail("resolve", 503, times=ALWAYS)
    with pytest.raises(UserError, match=f"whether model 'alice/genre' has a {name} is not known"):
        statistics_of("alice/genre")
    hub.faults.clear()
    assert statistics_of("alice/genre") == (-5.2, 3.4)


def test_a_model_whose_record_is_not_at_hand_is_not_one_that_held_nothing_out(
    own_hub, hub, genre_dataset, monkeypatch
):
    """Cached by `predict_song.py`, which reads no record, and evaluated with the Hub off."""
    splits = load_splits(genre_dataset)
    del splits["validation"]
    trained = with_validation(splits, seed=3)
    record = {
        "settings": {"seed": 3},
        "dataset": {"fingerprint_as_trained": dataset_fingerprint(trained)},
    }
    own_hub.upload_file(
        path_or_fileobj=yaml.safe_dump(record).encode(),
        repo_id="alice/genre",
        path_in_repo=RECORD_FILE,
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hf download alice/genre training_config\.yaml`"):
        training_record("alice/genre")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for _ in range(2):
        again = as_trained(splits, training_record("alice/genre"))
        assert len(again["validation"]) == len(trained["validation"])
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("read", [load_splits, read_shards])
def test_why_a_dataset_cannot_be_had_is_said_as_of_a_model(own_hub, hub, monkeypatch, read):
    def refusal(name: str) -> str:
        with pytest.raises(UserError, match=f"^dataset '{name}' ") as caught:
            read(name, "audio", "label", "song_id")
        return str(caught.value)

    with pytest.raises(UserError, match=r"model 'alice/nothing' .* nor a model on the Hub you see"):
        GenreClassifier.from_pretrained("alice/nothing")
    own_hub.create_repo("alice/private", repo_type="dataset", private=True)
    for name in ("alice/private", "alice/nothing"):
        said = refusal(name)
        assert "nor a dataset on the Hub you see (if it is private, `hf auth login`)" in said
        assert "make one with: python prepare_dataset.py" in said
    hub.fail("resolve", 403, headers={"X-Error-Code": "GatedRepo"}, times=ALWAYS)
    assert refusal("alice/songs").endswith("ask for access on its page, then `hf auth login`")
    hub.faults.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the token is not accepted: `hf auth login`" in refusal("alice/songs")
    with pytest.raises(UserError, match="model 'alice/genre' is kept back, for the token is not"):
        from_pretrained("alice/genre")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "and the Hub is off (HF_HUB_OFFLINE); make one" in refusal("alice/songs")


@pytest.mark.parametrize(
    ("home", "limit", "words"),
    [("full", 10_000, "File too large): make room"), ("file", -1, "Not a directory): see who")],
)
def test_where_the_client_cannot_keep_what_it_reads_its_folder_is_named(
    home, limit, words, own_hub, hub, tiny_model, tmp_path
):
    own_hub.upload_folder(folder_path=tiny_model, repo_id="alice/genre")
    (tmp_path / "file").touch()
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, -1))\n"  # bytes
        "from genreast.inference import GenreClassifier\n"
        "GenreClassifier.from_pretrained('alice/genre')\n"
    )
    environment = os.environ | hub.environment(tmp_path / home)
    run = [sys.executable, "-c", code]
    told = subprocess.run(run, env=environment, cwd=ROOT, capture_output=True, text=True).stderr
    words = (
        f"UserError: model 'alice/genre' cannot .*'{tmp_path / home}.*{re.escape(words)}.* HF_HOME"
    )
    assert re.search(words, told)


def test_shards_in_the_cache_are_not_streamed_with_the_hub_off(own_hub, sharded, monkeypatch):
    shard = next((sharded / "data").glob("validation-*"))
    place = {"repo_id": "alice/songs", "repo_type": "dataset"}
    for split in ("train", "validation"):
        own_hub.upload_file(path_or_fileobj=shard, path_in_repo=f"data/{split}-0.parquet", **place)
    columns = ("audio", "label", "song_id")
    clips = len(load_splits("alice/songs", *columns)["train"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"in the cache alone, .* which is off \(HF_HUB_OFFLINE\)"):
        read_shards("alice/songs", *columns)
    assert len(load_splits("alice/songs", *columns)["train"]) == clips > 0

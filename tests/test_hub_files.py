"""A small file of a Hub repository: there, not there, or nobody can tell."""

import json
import time
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import HfApi, constants

from genreast.audiofolder import dataset_fingerprint, load_splits
from genreast.errors import UserError
from genreast.features import STATS_FILE
from genreast.fine_tune import normalisation
from genreast.held_out import RECORD_FILE, as_trained, training_record, with_validation
from genreast.hub_files import file_of
from genreast.model import AUDIOSET_MEAN, AUDIOSET_STD, statistics_of

ALWAYS = 10**6
SETTINGS = SimpleNamespace(dataset="alice/songs", from_scratch="tiny", model_name_or_path="")


@pytest.fixture
def songs(hub, monkeypatch, tmp_path) -> HfApi:
    """The Hub on loopback as this process's own, with an empty cache and alice/songs on it."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's tries
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    address = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    api = HfApi(endpoint=hub.url, token="hf_alice")
    api.create_repo("alice/songs", repo_type="dataset")
    api.create_repo("alice/genre")
    return api


def add_statistics(api: HfApi) -> None:
    content = json.dumps({"mean": -6.5, "std": 3.5, "frames": 10}).encode()
    place = {"repo_id": "alice/songs", "repo_type": "dataset", "path_in_repo": STATS_FILE}
    api.upload_file(path_or_fileobj=content, **place)


def test_statistics_that_the_hub_does_not_give_are_not_taken_for_none(songs, hub, monkeypatch):
    add_statistics(songs)
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


def test_that_a_dataset_has_no_statistics_is_remembered(songs, monkeypatch):
    assert normalisation(SETTINGS) == (AUDIOSET_MEAN, AUDIOSET_STD)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert normalisation(SETTINGS) == (AUDIOSET_MEAN, AUDIOSET_STD)


def test_what_a_start_on_the_hub_was_trained_with_is_not_guessed(songs, hub, tiny_model):
    name = "preprocessor_config.json"
    songs.upload_file(path_or_fileobj=tiny_model / name, repo_id="alice/genre", path_in_repo=name)
    hub.fail("resolve", 503, times=ALWAYS)
    with pytest.raises(UserError, match=f"whether model 'alice/genre' has a {name} is not known"):
        statistics_of("alice/genre")
    hub.faults.clear()
    assert statistics_of("alice/genre") == (-5.2, 3.4)


def test_a_model_whose_record_is_not_at_hand_is_not_one_that_held_nothing_out(
    songs, hub, genre_dataset, monkeypatch
):
    """Cached by `predict_song.py`, which reads no record, and evaluated with the Hub off."""
    splits = load_splits(genre_dataset)
    del splits["validation"]
    trained = with_validation(splits, seed=3)
    record = {
        "settings": {"seed": 3},
        "dataset": {"fingerprint_as_trained": dataset_fingerprint(trained)},
    }
    songs.upload_file(
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


def test_a_repository_that_is_not_there_is_no_file_that_is_not(songs):
    with pytest.raises(UserError, match=r"the a\.json of dataset 'alice/other' cannot be had"):
        file_of("alice/other", "a.json", "dataset")

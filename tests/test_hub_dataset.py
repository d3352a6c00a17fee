"""A published dataset loads from the Hub as it lies here, split by split and sample by sample."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from datasets import Audio, load_dataset
from hub_store import front_matter, metadata_errors
from huggingface_hub import HfApi, constants

from genreast.data import clip_files
from genreast.data.audiofolder import dataset_fingerprint, load_splits, preparation
from genreast.errors import UserError
from genreast.publishing import hub_dataset
from genreast.publishing.destination import Destination
from genreast.publishing.hub import publish
from genreast.publishing.privacy import scan
from genreast.publishing.staging_folder import files_in

# Loads a dataset in a fresh process and saves it for comparing.
LOAD = """
import json, sys
from datasets import load_dataset
from genreast.data.audiofolder import preparation
load_dataset(sys.argv[1]).save_to_disk(sys.argv[2])
print(json.dumps(preparation(sys.argv[1])))
"""
PREPARATION = {"clip_seconds": 1.5, "group_by": "artist", "songs_without_group": 3, "seed": 0}
SONGS = Destination("alice/songs", repo_type="dataset", owned=hub_dataset.OWNED)


@pytest.fixture
def dataset_dir(genre_dataset, tmp_path) -> Path:
    """A copy that a test may spoil."""
    folder = Path(shutil.copytree(genre_dataset, tmp_path / "processed"))
    facts = PREPARATION | {"sha256": {"songs.csv": "0" * 64}}
    (folder / "preparation.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def api(hub, monkeypatch) -> HfApi:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    return HfApi(endpoint=hub.url)


def stage(dataset_dir, license="cc-by-4.0", as_audiofolder=False) -> Path:
    folder = dataset_dir.with_name("staged")
    hub_dataset.stage_dataset(dataset_dir, "alice/songs", license, as_audiofolder, folder)
    return folder


@pytest.mark.parametrize("as_audiofolder", [False, True], ids=["parquet", "audiofolder"])
def test_what_is_loaded_from_the_hub_is_the_folder_sample_by_sample(
    hub, api, dataset_dir, tmp_path, monkeypatch, as_audiofolder
):
    monkeypatch.setattr(clip_files, "SHARD_BYTES", 300_000)
    staged = stage(dataset_dir, as_audiofolder=as_audiofolder)
    if not as_audiofolder:
        assert len(list((staged / "data").glob("train-*"))) > 1, "more than one shard"
    scan(staged, hub_dataset.STAGED, owners=["alice"])
    publish(staged, SONGS, api=api)

    command = [sys.executable, "-c", LOAD, "alice/songs", str(tmp_path / "loaded")]
    environment = os.environ | hub.environment(tmp_path / "home", "hf_alice")
    output = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert output.returncode == 0, output.stderr[-3000:]
    assert json.loads(output.stdout) == PREPARATION, "and how its splits were made is known there"
    from datasets import load_from_disk

    ours = load_dataset("audiofolder", data_dir=str(dataset_dir), cache_dir=str(tmp_path / "cache"))
    theirs = load_from_disk(str(tmp_path / "loaded"))
    assert theirs.keys() == ours.keys() == {"train", "validation"}
    for split in ours:
        assert theirs[split].features["label"] == ours[split].features["label"]
        columns = ["label", "song_id", "group", "start"]
        assert theirs[split].select_columns(columns)[:] == ours[split].select_columns(columns)[:]
        for one, other in zip(theirs[split], ours[split], strict=True):
            assert one["audio"]["sampling_rate"] == 16_000
            assert (one["audio"]["array"] == other["audio"]["array"]).all()


def test_every_clip_s_bytes_lie_in_the_shards_as_they_are(dataset_dir):
    staged = stage(dataset_dir)
    table = pq.read_table(next((staged / "data").glob("validation-*")))
    metadata = pq.read_table(dataset_dir / "validation" / "metadata.parquet")
    for audio, name in zip(
        table["audio"].to_pylist(), metadata["file_name"].to_pylist(), strict=True
    ):
        assert audio["bytes"] == (dataset_dir / "validation" / name).read_bytes()
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == ["rock", "jazz", "disco"]
    assert features["audio"]["_type"] == Audio.__name__


def test_a_dataset_prepared_as_parquet_is_published_as_it_is(hub, api, sharded, tmp_path):
    dataset_dir = Path(shutil.copytree(sharded, tmp_path / "processed"))
    hub_dataset.check_dataset_dir(dataset_dir)
    staged = stage(dataset_dir)
    scan(staged, hub_dataset.STAGED)
    publish(staged, SONGS, api=api)
    files = hub.repo("alice/songs", "dataset").at("main").files
    shards = {f"data/{path.name}" for path in (dataset_dir / "data").iterdir()}
    assert shards == {name for name in files if name.startswith("data/")}
    card = (staged / "README.md").read_text()
    assert front_matter(card)["configs"][0]["data_files"][0]["path"] == "data/train-*"
    assert "| rock | 7, 14 | 3, 6 |" in card
    with pytest.raises(UserError, match="holds Parquet shards and no files"):
        hub_dataset.check_dataset_dir(dataset_dir, as_audiofolder=True)


def test_a_dataset_is_known_by_the_fingerprint_that_training_records(dataset_dir, sharded):
    expected = dataset_fingerprint(load_splits(dataset_dir))
    assert hub_dataset.fingerprint_of(dataset_dir) == expected
    assert (
        hub_dataset.fingerprint_of(sharded) == dataset_fingerprint(load_splits(sharded)) != expected
    )
    path = dataset_dir / "train" / "metadata.parquet"
    pq.write_table(pq.read_table(path).drop_columns("group"), path)
    assert hub_dataset.fingerprint_of(dataset_dir) is None


@pytest.mark.parametrize(
    "content",
    [["song"], {"group_by": 3}, {"steps": "cut"}, {"group_by": "song", "sha256": "5094"}],
)
def test_another_s_file_of_that_name_tells_nothing_of_splits(tmp_path, content):
    (tmp_path / "preparation.json").write_text(json.dumps(content))
    assert preparation(tmp_path) == {}


def test_the_card_says_rights_counts_and_how_to_load(dataset_dir):
    card = (stage(dataset_dir) / "README.md").read_text()
    data = front_matter(card)
    assert metadata_errors(data, "dataset") == []
    assert data["license"] == "cc-by-4.0"
    assert data["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*"},
        {"split": "validation", "path": "data/validation-*"},
    ]
    assert 'load_dataset("alice/songs")' in card
    assert "| rock | 7, 14 | 3, 6 |" in card
    assert "Published under the licence `cc-by-4.0`, as its publisher states." in card


def test_a_genre_s_name_is_no_markup(dataset_dir):
    for path in dataset_dir.glob("*/metadata.parquet"):
        table = pq.read_table(path)
        schema = table.schema.metadata[b"huggingface"].replace(b'"rock"', b'"<b>*rock*"')
        pq.write_table(table.replace_schema_metadata({b"huggingface": schema}), path)
    card = (stage(dataset_dir) / "README.md").read_text()
    assert r"| \<b\>\*rock\* | 7, 14 | 3, 6 |" in card


def test_genres_that_a_table_spells_are_counted_too(dataset_dir):
    for path in dataset_dir.glob("*/metadata.parquet"):
        table = pq.read_table(path)
        spelled = [["<rock>", "jazz", "disco"][label] for label in table["label"].to_pylist()]
        table = table.drop_columns("label").append_column("label", [spelled])
        pq.write_table(table.replace_schema_metadata(None), path)
    card = (stage(dataset_dir) / "README.md").read_text()
    for row in (
        r"| \<rock\> | 7, 14 | 3, 6 |",
        "| disco | 4, 8 | 2, 4 |",
        "| jazz | 5, 10 | 2, 4 |",
    ):
        assert f"\n{row}\n" in card


def test_what_the_folder_s_own_card_says_is_kept(dataset_dir):
    (dataset_dir / "README.md").write_text(
        "---\npretty_name: Our songs\n---\n\n# processed\n\n16 songs, by artist.\n\n"
        '```python\ndataset = load_dataset("audiofolder", data_dir=".")\n```\n\nThanks to bob.\n'
    )
    card = (stage(dataset_dir) / "README.md").read_text()
    assert front_matter(card)["pretty_name"] == "Our songs"
    for words in ("# songs\n", "16 songs, by artist.", "Thanks to bob."):
        assert words in card
    assert 'load_dataset("alice/songs")' in card and "data_dir" not in card


@pytest.mark.parametrize(
    "content, words",
    [(b"\xff\xfe#\0", "is not UTF-8 text"), (b"---\na: b: c\n---\n", "is no YAML")],
)
def test_a_card_that_cannot_be_read_is_named(dataset_dir, content, words):
    (dataset_dir / "README.md").write_bytes(content)
    with pytest.raises(UserError, match=rf"README\.md' {words}"):
        stage(dataset_dir)


def test_without_a_licence_the_card_claims_none(dataset_dir):
    card = (stage(dataset_dir, license=None) / "README.md").read_text()
    assert "license" not in front_matter(card)
    assert "No licence was given" in card


def test_a_licence_of_the_folder_s_own_card_stands_in_both_places_or_the_flag_s(dataset_dir):
    for flag, stated in ((None, "cc0-1.0"), ("mit", "mit")):
        (dataset_dir / "README.md").write_text("---\nlicense: cc0-1.0\n---\n\nOur songs.\n")
        card = (stage(dataset_dir, license=flag) / "README.md").read_text()
        assert front_matter(card)["license"] == stated
        assert f"Published under the licence `{stated}`" in card and "No licence" not in card


def test_staging_twice_gives_the_same_bytes_and_publishing_twice_one_commit(hub, api, dataset_dir):
    staged = stage(dataset_dir)
    first = {name: (staged / name).read_bytes() for name in files_in(staged)}
    publish(staged, SONGS, api=api)
    stage(dataset_dir)
    assert {name: (staged / name).read_bytes() for name in files_in(staged)} == first
    assert not publish(staged, SONGS, api=api).changed
    assert len(hub.repo("alice/songs", "dataset").history()) == 2


def test_the_other_format_takes_the_place_of_the_first_and_of_nothing_else(hub, api, dataset_dir):
    publish(stage(dataset_dir), SONGS, api=api)
    assert "preparation.json" in hub.repo("alice/songs", "dataset").at("main").files
    own = {"data/lyrics.parquet", "data/train-remixes.parquet", "data/notes.txt"}
    for name in own:
        place = {"repo_id": "alice/songs", "repo_type": "dataset", "path_in_repo": name}
        api.upload_file(path_or_fileobj=b"by hand", **place)
    (dataset_dir / "preparation.json").unlink()
    publish(stage(dataset_dir, as_audiofolder=True), SONGS, api=api)
    files = hub.repo("alice/songs", "dataset").at("main").files
    assert {name for name in files if name.startswith("data/")} == own
    assert "preparation.json" not in files, "it told of what was there before"
    assert "train/metadata.parquet" in files


def test_of_thousands_of_clips_that_go_a_few_are_named(hub, api, dataset_dir):
    publish(stage(dataset_dir, as_audiofolder=True), SONGS, api=api)
    (note,) = publish(stage(dataset_dir), SONGS, api=api).notes
    gone = [*dataset_dir.glob("*/*.flac"), *dataset_dir.glob("*/metadata.parquet")]
    assert note.count("train/") == 12 and note.endswith(f" and {len(gone) - 12} more")


def test_a_private_dataset_stays_private(hub, api, dataset_dir):
    publish(stage(dataset_dir, license=None), replace(SONGS, private=True), api=api)
    assert hub.repo("alice/songs", "dataset").private


def test_what_is_no_prepared_dataset_is_refused(dataset_dir, tmp_path):
    (tmp_path / "private.flac").write_bytes(b"not of this dataset")
    with pytest.raises(UserError, match=r"has neither train/metadata\.parquet nor"):
        hub_dataset.check_dataset_dir(tmp_path)
    clip = next((dataset_dir / "train").glob("*.flac"))
    clip.unlink()
    with pytest.raises(UserError, match=f"{clip.name}' is missing"):
        hub_dataset.check_dataset_dir(dataset_dir)
    clip.symlink_to(tmp_path / "private.flac")
    with pytest.raises(UserError, match="outside of the dataset"):
        hub_dataset.check_dataset_dir(dataset_dir)


def test_a_table_without_songs_is_refused(dataset_dir):
    path = dataset_dir / "train" / "metadata.parquet"
    pq.write_table(pq.read_table(path).drop_columns("song_id"), path)
    with pytest.raises(UserError, match="has no column song_id"):
        hub_dataset.check_dataset_dir(dataset_dir)


def test_an_unknown_licence_is_refused(dataset_dir):
    with pytest.raises(UserError, match="licence 'free' is not known; expected an id"):
        stage(dataset_dir, license="free")

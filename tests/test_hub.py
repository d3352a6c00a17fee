"""Publishing, against a Hub on loopback: what is there afterwards, and what was said on the way."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import HfApi, constants
from trained_model import GENRES, make_evaluation, make_model_dir

from genreast.arguments import PushArguments
from genreast.config import parse
from genreast.destination import Destination
from genreast.errors import UserError
from genreast.hub import publish
from genreast.pages import write_page
from genreast.publishing import pack
from genreast.staging import FLAGGED, OWNED, stage_model

ROOT = Path(__file__).resolve().parent.parent
PAGE = "---\nlicense: mit\n---\n\n# genre\n"
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


@pytest.fixture
def staged(tmp_path, model_dir) -> Path:
    stage_model(model_dir, None, tmp_path / "staged", lambda _: PAGE)
    return tmp_path / "staged"


@pytest.fixture
def api(hub, monkeypatch) -> HfApi:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    return HfApi(endpoint=hub.url)


@pytest.fixture
def genre(api) -> Destination:
    return Destination("alice/genre", owned=OWNED)


def run_script(hub, home, *arguments, token="hf_alice") -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "push_to_hub.py"), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    environment |= hub.environment(home, token)
    return subprocess.run(command, env=environment, cwd=home.parent, capture_output=True, text=True)


def run_python(hub, home, *command):
    """The JSON that a fresh process with an empty cache prints."""
    environment = os.environ | hub.environment(home, "hf_alice")
    output = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True
    )
    assert output.returncode == 0, output.stderr
    return json.loads(output.stdout)


def files_of(commit) -> set[str]:
    return set(commit.files) - {".gitattributes"}


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
    assert hub.repo("alice/genre").private
    assert files_of(hub.repo("alice/genre").at("main")) == {
        "README.md",
        "config.json",
        "figures/confusion_matrix.png",
        "metrics.json",
        "model.safetensors",
        "preprocessor_config.json",
        next(name for name in hub.repo("alice/genre").at("main").files if "tfevents" in name),
        "training_config.yaml",
    }

    predict = [str(ROOT / "predict_song.py"), "alice/genre", str(song), "--format", "json"]
    predicted = run_python(hub, tmp_path / "empty", *predict)
    predicted = {row["label"]: row["score"] for row in predicted["genres"]}
    published = run_python(hub, tmp_path / "empty2", "-c", PIPELINE, "alice/genre", str(song))
    assert published.keys() == set(GENRES)
    assert published == pytest.approx(predicted, abs=1e-3)
    assert max(published.values()) > 0.4, "scores all alike would compare equal to anything"


def test_publishing_twice_makes_one_commit(hub, api, genre, staged):
    first = publish(staged, genre, api=api)
    second = publish(staged, genre, api=api)
    assert first.changed and not second.changed
    assert first.commit == second.commit
    assert len(hub.repo("alice/genre").history()) == 2, "the Hub's own first commit, and ours"


def test_only_what_changed_is_sent_and_what_is_stale_goes(hub, api, genre, staged):
    (staged / "metrics.json").write_text("{}")
    publish(staged, genre, api=api)
    api.upload_file(repo_id="alice/genre", path_or_fileobj=b"by hand", path_in_repo="LICENSE")
    hub.calls.clear()
    (staged / "metrics.json").unlink()
    write_page(staged, PAGE + "\nbetter\n")
    made = publish(staged, genre, api=api)
    files = hub.repo("alice/genre").at("main").files
    assert "metrics.json" not in files, "the scores of an older model would mislead"
    assert files["LICENSE"].content == b"by hand", "what others put there stays"
    assert b"\nbetter\n" in files["README.md"].content
    assert any("metrics.json" in note for note in made.notes), "what goes is told"
    assert "lfs_put" not in hub.calls, "the weights were there already"


def test_what_a_flag_added_to_the_same_model_is_not_deleted_unasked(
    hub, api, genre, staged, tmp_path
):
    measured = replace(genre, flagged=FLAGGED)
    (staged / "onnx").mkdir()
    for name in FLAGGED:
        (staged / name).write_text("{}")
    publish(staged, measured, api=api)
    before = hub.repo("alice/genre").at("main")
    (staged / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"with --evaluation, and its model is the same: give that"):
        publish(staged, measured, api=api)
    (staged / "onnx" / "measurements.json").unlink()
    with pytest.raises(UserError, match=r"with --evaluation and --onnx, .*Nothing was uploaded"):
        publish(staged, measured, api=api)
    assert hub.repo("alice/genre").at("main") == before

    weights = make_model_dir(tmp_path / "second", seed=1) / "model.safetensors"
    shutil.copyfile(weights, staged / "model.safetensors")
    publish(staged, measured, api=api)
    files = files_of(hub.repo("alice/genre").at("main"))
    assert not files & set(FLAGGED), "what was measured of other weights would mislead"


def test_publishing_again_without_the_evaluation_asks_first(hub, tmp_path, model_dir, evaluation):
    def push(*flags):
        flags = [*flags, "--staging_dir", tmp_path / "staged"]
        return run_script(hub, tmp_path / "home", model_dir, "alice/genre", *flags)

    assert push("--evaluation", evaluation).returncode == 0
    assert_refused(push(), "alice/genre was published with --evaluation")
    assert "metrics.json" in hub.repo("alice/genre").at("main").files
    output = push("--take_down")
    assert output.returncode == 0, output.stderr
    assert "metrics.json" not in hub.repo("alice/genre").at("main").files


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


def test_a_page_that_was_edited_on_the_hub_is_not_lost(hub, api, genre, staged):
    publish(staged, genre, api=api)
    edited = (staged / "README.md").read_bytes() + b"\nThanks to the band.\n"
    api.upload_file(repo_id="alice/genre", path_or_fileobj=edited, path_in_repo="README.md")
    api.upload_file(repo_id="alice/genre", path_or_fileobj=b"x", path_in_repo="figures/my/own.png")
    (staged / "metrics.json").write_text("{}")
    write_page(staged, PAGE + "\nnew scores\n")
    with pytest.raises(UserError, match=r"was edited on the Hub.*Nothing was uploaded"):
        publish(staged, genre, api=api)

    def page() -> bytes:
        return hub.repo("alice/genre").at("main").files["README.md"].content

    assert page() == edited
    publish(staged, replace(genre, edited_page="keep"), api=api)
    assert page() == edited
    assert {"metrics.json", "figures/my/own.png"} <= files_of(hub.repo("alice/genre").at("main"))
    publish(staged, replace(genre, edited_page="replace"), api=api)
    assert page() == (staged / "README.md").read_bytes()


def test_a_repository_that_stays_private_says_so(hub, api, genre, staged):
    publish(staged, replace(genre, private=True), api=api)
    made = publish(staged, genre, api=api)
    assert hub.repo("alice/genre").private
    assert any("still private" in note for note in made.notes)


def test_a_branch_is_made_and_main_stays(hub, api, genre, staged):
    publish(staged, replace(genre, revision="wide"), api=api)
    repo = hub.repo("alice/genre")
    assert files_of(repo.at("main")) == set()
    assert "model.safetensors" in repo.at("wide").files


def test_a_pull_request_is_opened_once(hub, api, genre, staged):
    publish(staged, genre, api=api)
    write_page(staged, PAGE + "\nproposal\n")
    asked = replace(genre, create_pr=True)
    first = publish(staged, asked, api=api)
    second = publish(staged, asked, api=api)
    assert first.url == second.url == f"{hub.url}/alice/genre/discussions/1"
    assert first.changed and not second.changed
    assert len(hub.repo("alice/genre").history()) == 2, "main waits for the merge"


def test_a_tag_names_the_commit_and_is_never_moved(hub, api, genre, staged):
    tagged = replace(genre, tag="v1.0")
    made = publish(staged, tagged, api=api)
    assert hub.repo("alice/genre").refs["refs/tags/v1.0"] == made.commit
    assert publish(staged, tagged, api=api).commit == made.commit

    write_page(staged, PAGE + "\nother\n")
    with pytest.raises(UserError, match=r"'v1\.0'.*names commit.*Nothing was uploaded"):
        publish(staged, tagged, api=api)
    assert hub.repo("alice/genre").at("main").oid == made.commit


def test_an_organisation_may_be_the_owner(hub, api, genre, staged):
    publish(staged, replace(genre, repo_id="band/genre"), api=api)
    assert "model.safetensors" in hub.repo("band/genre").at("main").files


def test_private_is_never_taken_for_granted(hub, api, genre, staged):
    publish(staged, genre, api=api)
    before = hub.repo("alice/genre").at("main")
    with pytest.raises(UserError, match=r"exists and is public.*Nothing was uploaded"):
        publish(staged, replace(genre, private=True), api=api)
    assert hub.repo("alice/genre").at("main") == before


def test_a_failed_check_of_what_was_read_back_is_told(api, genre, staged):
    def check(folder):
        assert (folder / "model.safetensors").read_bytes() == (
            staged / "model.safetensors"
        ).read_bytes()
        raise UserError("the scores differ")

    with pytest.raises(UserError, match="the scores differ"):
        publish(staged, genre, check=check, api=api)


@pytest.mark.parametrize("repo_id", ["genre", "alice/my genre", "alice/genre/v1"])
def test_a_wrong_repo_id_is_named_at_once(hub, tmp_path, model_dir, repo_id):
    output = run_script(hub, tmp_path / "home", model_dir, repo_id)
    assert_refused(output, f"'{repo_id}' is not a Hub id; expected USER/NAME")
    assert not hub.calls


def test_someone_else_s_namespace_is_refused_before_anything_is_made(hub, api, genre, staged):
    with pytest.raises(UserError, match=r"belongs to bob.*publish under one of alice, band"):
        publish(staged, replace(genre, repo_id="bob/genre"), api=api)
    assert hub.calls == ["whoami"]


@pytest.mark.parametrize(
    "token, words",
    [
        (None, "no Hub token found: sign in with `hf auth login`, or set HF_TOKEN"),
        ("hf_reader", "the token of alice may only read"),
        ("hf_wrong", "the token is not accepted"),
    ],
)
def test_a_token_that_cannot_publish_is_refused_before_anything_is_made(
    hub, api, genre, staged, tmp_path, monkeypatch, token, words
):
    hub.add_user("hf_reader", "alice", role="read")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_saved_login"))
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=words) as refusal:
        publish(staged, genre, api=api)
    assert not token or token not in str(refusal.value)
    assert set(hub.calls) <= {"whoami"}


def test_the_saved_login_is_used(hub, api, genre, staged, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hf_alice\n")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN")
    assert publish(staged, genre, api=api).changed


def test_nothing_is_uploaded_on_a_dry_run_and_no_token_is_wanted(hub, tmp_path, model_dir):
    folder = tmp_path / "staged"
    options = ["--dry_run", "--staging_dir", folder]
    output = run_script(hub, tmp_path / "home", model_dir, "alice/genre", *options, token=None)
    assert output.returncode == 0, output.stderr
    assert output.stdout.split() == [str(folder)]
    assert (folder / "README.md").is_file()
    assert not hub.calls


def test_what_is_staged_together_lies_side_by_side(hub, tmp_path, model_dir, genre_dataset):
    data = shutil.copytree(genre_dataset, tmp_path / "processed")
    options = ["--dataset_dir", data, "--dataset_repo", "alice/songs", "--space", "alice/page"]
    options += ["--dry_run", "--staging_dir", tmp_path / "staged"]
    output = run_script(hub, tmp_path / "home", model_dir, "alice/genre", *options, token=None)
    assert output.returncode == 0, output.stderr
    names = ["staged-dataset", "staged", "staged-space"]
    assert output.stdout.split() == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name / "README.md").is_file() for name in names)
    assert not (tmp_path / "processed-hub_staging").exists()


def test_neighbours_of_the_folder_that_one_stands_in_have_its_name(
    tmp_path, model_dir, genre_dataset, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    command = [str(model_dir), "alice/genre", "--staging_dir", ".", "--space", "alice/page"]
    command += ["--dataset_dir", str(genre_dataset), "--dataset_repo", "alice/songs"]
    template, page_dir = ROOT / "model_card.md", ROOT / "examples" / "space"
    parcels = pack(parse(PushArguments, argv=command), template, page_dir)
    names = ["here-dataset", "here", "here-space"]
    assert [parcel.folder for parcel in parcels] == [tmp_path / name for name in names]


def test_songs_without_a_licence_go_to_a_private_dataset(hub, tmp_path, genre_dataset):
    dataset_dir = shutil.copytree(genre_dataset, tmp_path / "processed")
    options = ["--dataset_dir", dataset_dir, "--dataset_repo", "alice/songs"]
    output = run_script(hub, tmp_path / "home", *options)
    assert output.returncode == 0, output.stderr
    assert "no --dataset_license, so it is kept private" in output.stderr
    assert output.stdout.split() == [f"{hub.url}/datasets/alice/songs"]
    assert hub.repo("alice/songs", "dataset").private


def test_what_is_missing_is_named_before_the_network_is_touched(hub, tmp_path):
    output = run_script(hub, tmp_path / "home", tmp_path, "alice/genre")
    assert_refused(output, "is not a trained model: it has no config.json, no model.safetensors")
    assert not hub.calls


def assert_refused(output: subprocess.CompletedProcess, words: str) -> None:
    assert output.returncode == 2, output.stderr
    assert words in output.stderr
    assert "Traceback" not in output.stderr

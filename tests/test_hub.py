"""Publishing, against a Hub on loopback: what is there afterwards, and what was said on the way."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hub_store import files_of
from huggingface_hub import HfApi, constants
from trained_model import make_model_dir

from genreast.errors import UserError
from genreast.pages import write_page
from genreast.publishing import destination
from genreast.publishing.destination import Destination
from genreast.publishing.hub import publish
from genreast.publishing.staging import FLAGGED, OWNED, stage_model

PAGE = "---\nlicense: mit\n---\n\n# genre\n"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("models") / "first")


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
    with pytest.raises(UserError, match=r"holds metrics\.json, as --evaluation would add, and its"):
        publish(staged, measured, api=api)
    (staged / "onnx" / "measurements.json").unlink()
    with pytest.raises(UserError, match=r"as --evaluation and --onnx would.*Nothing was uploaded"):
        publish(staged, measured, api=api)
    assert hub.repo("alice/genre").at("main") == before

    weights = make_model_dir(tmp_path / "second", seed=1) / "model.safetensors"
    shutil.copyfile(weights, staged / "model.safetensors")
    publish(staged, measured, api=api)
    files = files_of(hub.repo("alice/genre").at("main"))
    assert not files & set(FLAGGED), "what was measured of other weights would mislead"


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


def test_a_page_that_holds_metadata_alone_was_not_edited(hub, api, genre, staged):
    api.create_repo("alice/genre")
    for blank in (b"---\nlicense: mit\n---\n", b"---\nlicense: mit\n---\n\n \n"):
        api.upload_file(repo_id="alice/genre", path_or_fileobj=blank, path_in_repo="README.md")
        publish(staged, genre, api=api)
        files = hub.repo("alice/genre").at("main").files
        assert files["README.md"].content == (staged / "README.md").read_bytes()


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


def test_a_pull_request_is_opened_once(hub, api, genre, staged, monkeypatch):
    monkeypatch.setattr(destination, "RECENT_PULL_REQUESTS", 1)
    publish(staged, genre, api=api)
    edited = b"Looked through before it is replaced.\n"
    api.upload_file(repo_id="alice/genre", path_or_fileobj=edited, path_in_repo="README.md")
    write_page(staged, PAGE + "\nproposal\n")
    asked = replace(genre, create_pr=True)
    measured = staged / "metrics.json"
    for number, change in ((1, measured.touch), (2, measured.unlink)):
        change()
        first, second = publish(staged, asked, api=api), publish(staged, asked, api=api)
        assert first.url == second.url == f"{hub.url}/alice/genre/discussions/{number}"
        assert first.changed and not second.changed
    assert len(hub.repo("alice/genre").history()) == 3, "main waits for the merge"
    assert hub.repo("alice/genre").at("main").files["README.md"].content == edited


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

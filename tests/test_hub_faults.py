"""A Hub in trouble: every step fails in turn, and a repository is never left half published."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from huggingface_hub import HfApi, constants
from trained_model import make_model_dir

from genreast.errors import UserError
from genreast.publishing.destination import Destination
from genreast.publishing.hub import publish
from genreast.publishing.staging import OWNED, stage_model

TOKEN = "hf_aliceSecretaliceSecretaliceSecret"
# Every call of a first publication with a tag, in order; what each test makes fail.
STEPS = (
    "whoami repo_info create_repo tree list_refs preupload lfs_batch lfs_put lfs_verify"
    " validate_yaml commit resolve lfs_get create_tag"
)
STEPS = STEPS.split()
ALWAYS = 10**6
BEFORE_COMMIT = STEPS[: STEPS.index("commit")]
GENRE = Destination("alice/genre", tag="v1.0", owned=OWNED)


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("staged") / "hub_staging"
    page = "---\nlicense: mit\n---\n\n# genre\n"
    stage_model(make_model_dir(folder.parent / "model"), None, folder, lambda _: page)
    return folder


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that the client and this project would have waited."""
    seconds = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def api(hub, waits, monkeypatch) -> HfApi:
    hub.add_user(TOKEN, "alice")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return HfApi(endpoint=hub.url)


def seen(folder: Path) -> None:
    """A check of what was read back that wants nothing but the weights."""
    assert (folder / "model.safetensors").is_file()


def assert_whole(hub, staged) -> None:
    """The repository holds exactly what was staged, from one commit, under its tag."""
    repo = hub.repo("alice/genre")
    files = {name: blob.content for name, blob in repo.at("v1.0").files.items()}
    del files[".gitattributes"]
    assert files == {
        path.relative_to(staged).as_posix(): path.read_bytes()
        for path in staged.rglob("*")
        if path.is_file()
    }
    assert len(repo.history()) == 2


def assert_nothing_loads(hub) -> None:
    for repo in hub.store.repos.values():
        assert set(repo.at("main").files) == {".gitattributes"}


def message_of(failure, capfd) -> str:
    """The message, after making sure that the token is in no output."""
    printed = capfd.readouterr()
    message = str(failure.value)
    assert TOKEN not in message + printed.out + printed.err
    assert len(message.splitlines()) <= 2
    return message


@pytest.mark.parametrize("status", [500, 503, 0], ids=["500", "503", "cut"])
@pytest.mark.parametrize("step", STEPS)
def test_one_failure_at_any_step_is_survived(hub, api, staged, step, status):
    hub.fail(step, status)
    assert publish(staged, GENRE, seen, api=api).changed
    assert hub.faults[0].times == 0, f"the step {step} was never reached"
    assert_whole(hub, staged)


@pytest.mark.parametrize("step", STEPS)
def test_a_hub_that_stays_down_ends_in_a_message_and_the_next_run_completes(
    hub, api, staged, step, capfd
):
    hub.fail(step, 503, times=ALWAYS)
    with pytest.raises(UserError, match="the Hub answered 503") as failure:
        publish(staged, GENRE, seen, api=api)
    message = message_of(failure, capfd)
    assert "Running the command again is safe" in message
    if step in [*BEFORE_COMMIT, "commit"]:
        assert_nothing_loads(hub)
        assert ("alice/genre was created and is empty" in message) == bool(hub.store.repos)
        assert ("Nothing on alice/genre has changed" in message) == (not hub.store.repos)
    else:
        assert re.search(r"Commit \w{8} is on alice/genre", message)

    hub.faults.clear()
    publish(staged, GENRE, seen, api=api)
    assert_whole(hub, staged)


@pytest.mark.parametrize(
    "step, status, words",
    [
        ("whoami", 401, "the token is not accepted"),
        ("create_repo", 403, "the token may not write to alice/genre"),
        ("preupload", 401, "the token is not accepted"),
        ("preupload", 403, "the token may not write to alice/genre"),
        ("preupload", 404, "alice/genre is not there, or the token may not see it"),
        ("lfs_batch", 403, "the token may not write to alice/genre"),
        ("lfs_put", 403, "the token may not write to alice/genre"),
        ("commit", 401, "the token is not accepted"),
        ("commit", 403, "the token may not write to alice/genre"),
        ("commit", 404, "alice/genre is not there, or the token may not see it"),
        ("commit", 409, "another change is under way"),
        ("commit", 412, "someone else committed to alice/genre meanwhile"),
    ],
)
def test_a_refusal_is_told_at_once_with_its_remedy(
    hub, api, waits, staged, step, status, words, capfd
):
    hub.fail(step, status, times=ALWAYS)
    with pytest.raises(UserError, match=words) as failure:
        publish(staged, GENRE, seen, api=api)
    assert "Running the command again is safe" in message_of(failure, capfd)
    assert not waits, "a refusal does not get better by waiting"
    assert_nothing_loads(hub)


def test_the_wait_that_the_hub_asks_for_is_kept(hub, api, waits, staged):
    for step in ("whoami", "preupload", "commit"):
        hub.fail(step, 429, headers={"Retry-After": "17"})
    publish(staged, GENRE, seen, api=api)
    assert sum(seconds >= 17 for seconds in waits) == 3
    assert_whole(hub, staged)


def test_a_very_long_wait_is_reported_and_not_sat_out(hub, api, waits, staged):
    hub.fail("commit", 429, headers={"Retry-After": "3600"}, times=ALWAYS)
    with pytest.raises(UserError, match="too many requests: wait 3600 s"):
        publish(staged, GENRE, seen, api=api)
    assert sum(waits) < 60
    assert_nothing_loads(hub)


@pytest.mark.parametrize("status", [0, 504], ids=["cut", "504"])
@pytest.mark.parametrize("create_pr", [False, True], ids=["commit", "pull request"])
def test_a_lost_answer_to_the_commit_makes_no_second_one(hub, api, staged, status, create_pr):
    if create_pr:
        api.create_repo("alice/genre")
    hub.fail("commit", status, after=True)
    asked = replace(GENRE, tag=None, create_pr=create_pr)
    publication = publish(staged, asked, seen, api=api)
    repo = hub.repo("alice/genre")
    assert hub.calls.count("commit") == 1
    assert len(repo.commits) == 2
    assert repo.commits[publication.commit].files["model.safetensors"].lfs
    assert create_pr == ("refs/pr/1" in repo.refs)


def test_a_hub_that_falls_silent_at_the_commit_is_not_taken_for_a_refusal(hub, api, staged, capfd):
    hub.fail("commit", after=True, act=lambda: hub.fail("repo_info", 503, times=ALWAYS))
    with pytest.raises(UserError, match="did not say whether the commit") as failure:
        publish(staged, GENRE, seen, api=api)
    message_of(failure, capfd)
    hub.faults.clear()
    publish(staged, GENRE, seen, api=api)
    assert hub.calls.count("commit") == 1
    assert_whole(hub, staged)


def test_a_connection_cut_in_the_middle_of_the_weights_is_taken_up_again(hub, api, staged):
    hub.fail("lfs_put", halfway=True)
    publish(staged, GENRE, seen, api=api)
    assert hub.faults[0].times == 0
    assert_whole(hub, staged)


def test_a_commit_by_someone_else_is_not_buried(hub, api, staged, capfd):
    api.create_repo("alice/genre")

    def interfere():
        repo = hub.repo("alice/genre")
        files = repo.at("main").files | {"LICENSE": repo.at("main").files[".gitattributes"]}
        repo.refs["refs/heads/main"] = repo.add_commit(repo.at("main").oid, "bob's", files).oid

    hub.fail("commit", act=interfere)
    with pytest.raises(UserError, match="someone else committed") as failure:
        publish(staged, GENRE, seen, api=api)
    message_of(failure, capfd)
    assert hub.repo("alice/genre").at("main").title == "bob's"
    publish(staged, GENRE, seen, api=api)
    files = hub.repo("alice/genre").at("main").files
    assert {"LICENSE", "model.safetensors"} <= set(files)


def test_metadata_that_the_hub_refuses_is_told(hub, api, tmp_path, staged, capfd):
    (tmp_path / "README.md").write_text("---\ntags: music\n---\n")
    with pytest.raises(UserError, match='"tags" must be an array') as failure:
        publish(tmp_path, GENRE, api=api)
    message_of(failure, capfd)
    assert_nothing_loads(hub)


def test_a_token_that_no_header_can_hold_is_not_printed(hub, api, staged, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", TOKEN + "\u00e9\x01")
    with pytest.raises(UserError) as failure:
        publish(staged, GENRE, seen, api=api)
    message_of(failure, capfd)


def test_a_hub_that_is_not_there_is_named(api, staged, monkeypatch, capfd):
    with pytest.raises(UserError, match=r"the connection to http://127\.0\.0\.1:9 failed") as gone:
        publish(staged, GENRE, seen, api=HfApi(endpoint="http://127.0.0.1:9"))
    message_of(gone, capfd)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set") as offline:
        publish(staged, GENRE, seen, api=api)
    message_of(offline, capfd)


def test_a_disk_that_is_full_when_it_is_read_back_is_told_with_what_to_do(
    hub, api, staged, monkeypatch, capfd
):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(api, "snapshot_download", full)
    with pytest.raises(UserError, match=r"no room is left in '/.* set TMPDIR to") as failure:
        publish(staged, GENRE, seen, api=api)
    assert re.search(r"Commit \w{8} is on alice/genre", message_of(failure, capfd))


LOST = """
from pathlib import Path
from huggingface_hub import HfApi
from genreast.data.audiofolder import load_splits
from genreast.publishing.destination import Destination
from genreast.errors import UserError
from genreast.publishing.hub import publish
from genreast.pretrained import read_config

here, there = Path(), Destination("alice/genre")
for ask in (
    lambda: read_config("alice/genre"),
    lambda: load_splits("alice/songs"),
    lambda: publish(here, there, api=HfApi(token="hf_alice")),
):
    try:
        ask()
    except UserError as error:
        print(error)
"""


def test_certificates_that_are_not_there_are_named(hub, tmp_path):
    """The system says that there is no such file, and not which."""
    environment = hub.environment(tmp_path) | {"SSL_CERT_FILE": str(tmp_path / "gone.pem")}
    done = subprocess.run(
        [sys.executable, "-c", LOST],
        cwd=tmp_path,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    told = done.stdout.splitlines()
    assert len(told) == 3, done.stderr
    assert all(f"SSL_CERT_FILE is '{tmp_path}/gone.pem', which is no file" in line for line in told)


def test_what_came_back_other_than_it_was_sent_is_refused(hub, api, staged):
    def corrupt():
        for commit in hub.repo("alice/genre").commits.values():
            if "config.json" in commit.files:
                blob = commit.files["config.json"]
                content = json.dumps({"model_type": "other"}).encode()
                commit.files["config.json"] = replace(blob, content=content)

    hub.fail("resolve", act=corrupt)
    with pytest.raises(UserError, match=r"config\.json came back.*do not use this commit"):
        publish(staged, GENRE, seen, api=api)
    assert "refs/tags/v1.0" not in hub.repo("alice/genre").refs

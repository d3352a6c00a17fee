"""Publishing: a staged folder → one commit on the Hub, which is then read back and compared.

Everything runs through `huggingface_hub`, so HF_ENDPOINT, HF_TOKEN, the saved login and Xet work
as they do everywhere else. A commit is atomic: a repository never holds half a model.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import get_token

from genreast.errors import UserError
from genreast.pages import PAGE_FILE
from genreast.pretrained import WEIGHTS_FILE
from genreast.publishing.destination import (
    Destination,
    differences,
    page_was_edited,
    pull_request_with,
)
from genreast.publishing.hub_errors import WAITS, explain, is_transient, patiently, retry_after
from genreast.publishing.staging_folder import files_in

NAMED = 12  # deleted files that are told by name; of a dataset's clips it may be a million


@dataclass(frozen=True)
class Publication:
    """What is on the Hub now; `changed` is False when it was there already."""

    commit: str
    url: str
    changed: bool
    notes: tuple[str, ...] = ()  # what the user should know of it


class Attempt:
    """What one run has done on the Hub so far, told when it fails."""

    def __init__(self, destination: Destination, endpoint: str):
        self.destination, self.endpoint = destination, endpoint
        self.doing = "signing in"
        self.created = False
        self.unsure = False  # whether a commit landed whose answer was lost
        self.commit: str | None = None

    def failure(self, error: Exception) -> UserError:
        """What went wrong, at which step, and how the Hub stands now."""
        repo = self.destination.repo_id
        cause = explain(error, repo, self.endpoint)
        state = self.aftermath() or f" Nothing on {repo} has changed."
        return UserError(f"while {self.doing}: {cause}.{state} Running the command again is safe.")

    def aftermath(self) -> str:
        """What this run has left on the Hub, as a sentence; empty when it is nothing."""
        repo = self.destination.repo_id
        if self.unsure:
            return f" The Hub did not say whether the commit to {repo} was made."
        if self.commit:
            return f" Commit {self.commit[:8]} is on {repo}; nothing after it was done."
        if self.created:
            return f" {repo} was created and is empty; no commit was made."
        return ""


def publish(
    folder: Path,
    destination: Destination,
    check: Callable[[Path], None] | None = None,
    api: HfApi | None = None,
) -> Publication:
    """Bring the files of a folder to the Hub in one commit; none when they are there already.

    The commit is read back by its id: with a `check`, its files are downloaded, compared byte for
    byte and given to it; without one, the hashes that the Hub lists are compared. Raises UserError
    that says what did and what did not happen.
    """
    api = api or HfApi()
    attempt = Attempt(destination, api.endpoint)
    try:
        _check_account(api, destination)
        return _publish(folder, destination, check, api, attempt)
    except UserError as error:
        raise UserError(f"{error}{attempt.aftermath()}") from None
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise attempt.failure(error) from None


def _publish(folder, destination, check, api, attempt) -> Publication:
    local = {name: folder / name for name in files_in(folder)}

    attempt.doing = "preparing the repository"
    parent, notes = _prepare_repository(api, destination, attempt)
    if not attempt.created and page_was_edited(api, destination, parent):
        if destination.edited_page is None:
            raise UserError(
                f"README.md of {destination.repo_id} was edited on the Hub: --edited_page keep"
                " leaves it as it is, --edited_page replace writes the new one over it. Nothing was"
                " uploaded."
            )
        if destination.edited_page == "keep":
            del local[PAGE_FILE]
            notes.append("README.md stays as it was edited on the Hub")
    changed, stale = differences(api, destination, parent, local)
    _check_loss(destination, changed, stale)
    _check_tag(api, destination, parent, unchanged=not (changed or stale))

    commit, pull_request = parent, None
    if changed or stale:
        found = pull_request_with(api, destination, local) if destination.create_pr else None
        if found:
            commit, pull_request = found
            changed = stale = []
        else:
            operations = [CommitOperationAdd(name, str(local[name])) for name in changed]
            operations += [CommitOperationDelete(name) for name in stale]
            commit, pull_request = _commit(api, destination, operations, parent, local, attempt)
    attempt.commit = commit

    attempt.doing = "reading it back"
    if check:
        with tempfile.TemporaryDirectory() as temporary:
            _read_back(api, destination, commit, local, Path(temporary))
            check(Path(temporary))
    elif any(differences(api, destination, commit, local)):
        raise UserError("the Hub lists other files than were sent: run the command again.")
    if destination.tag:
        attempt.doing = f"setting the tag {destination.tag}"
        call = {"tag": destination.tag, "revision": commit, "exist_ok": True}
        patiently(lambda: api.create_tag(**destination.place, **call))

    if stale:
        more = f" and {len(stale) - NAMED} more" if len(stale) > NAMED else ""
        named = ", ".join(stale[:NAMED]) + more
        notes.append(f"deleted there, for it was not staged this time: {named}")
    url = pull_request or f"{api.endpoint}/{destination.page}"
    return Publication(commit, url, bool(changed or stale), tuple(notes))


def check_login(api: HfApi | None = None) -> None:
    """Refuse to publish offline or without a token, which is known before the Hub is asked."""
    api = api or HfApi()
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be published: unset it")
    if not (api.token or get_token()):
        raise UserError(
            "no Hub token found: sign in with `hf auth login`, or set HF_TOKEN to a token with"
            f" write permission from {api.endpoint}/settings/tokens"
        )


def _check_account(api: HfApi, destination: Destination) -> None:
    """Refuse a missing, read-only or foreign token before anything is written."""
    check_login(api)
    settings = f"{api.endpoint}/settings/tokens"
    account = patiently(api.whoami)
    role = account.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise UserError(
            f"the token of {account['name']} may only read: make one with write permission at"
            f" {settings}. Nothing on the Hub has changed."
        )
    names = [account["name"], *(organization["name"] for organization in account.get("orgs", []))]
    owner = destination.repo_id.split("/")[0]
    if owner not in names and not destination.create_pr:
        raise UserError(
            f"{destination.repo_id!r} belongs to {owner}, and the token to {account['name']}:"
            f" publish under one of {', '.join(names)}. Nothing on the Hub has changed."
        )


def _prepare_repository(
    api: HfApi, destination: Destination, attempt: Attempt
) -> tuple[str | None, list[str]]:
    """Make the repository and the branch where missing; the commit they stand at, and notes."""
    notes: list[str] = []
    place, revision = destination.place, destination.revision
    try:
        info = patiently(lambda: api.repo_info(**place))
    except RepositoryNotFoundError:
        if destination.create_pr:
            raise UserError(
                f"there is no {destination.repo_type} {destination.repo_id!r} to make a pull"
                " request to: publish it once without --create_pr"
            ) from None
        sdk = "gradio" if destination.repo_type == "space" else None
        options = {"private": destination.private, "space_sdk": sdk, "exist_ok": True}
        patiently(lambda: api.create_repo(**place, **options))
        attempt.created = True
        info = patiently(lambda: api.repo_info(**place))
    if destination.private and not info.private:
        raise UserError(
            f"{destination.repo_id!r} exists and is public, but this is to be private (--private,"
            " or songs without --dataset_license): change its settings or the flags. Nothing was"
            " uploaded."
        )
    if info.private and not destination.private:
        notes.append(f"{destination.repo_id} is still private: its settings on the Hub open it")
    if revision == "main":
        return info.sha, notes
    try:
        return patiently(lambda: api.repo_info(**place, revision=revision)).sha, notes
    except RevisionNotFoundError:
        patiently(lambda: api.create_branch(**place, branch=revision, exist_ok=True))
        return patiently(lambda: api.repo_info(**place, revision=revision)).sha, notes


def _check_loss(destination: Destination, changed: list[str], stale: list[str]) -> None:
    """Refuse to delete what a flag added to the very model that is published again without it."""
    flags = {name: flag for name, flag in destination.flagged.items() if name in stale}
    if flags and WEIGHTS_FILE not in changed:
        raise UserError(
            f"{destination.repo_id} holds {' and '.join(flags)}, as {' and '.join(flags.values())}"
            " would add, and its model is the same: give that too, or --take_down to delete what"
            " it adds. Nothing was uploaded."
        )


def _check_tag(api: HfApi, destination: Destination, head: str | None, unchanged: bool) -> None:
    """Refuse a tag that names another commit, before anything is uploaded."""
    if not destination.tag:
        return
    tags = patiently(lambda: api.list_repo_refs(**destination.place)).tags
    commit = next((tag.target_commit for tag in tags if tag.name == destination.tag), None)
    if commit and not (unchanged and commit == head):
        raise UserError(
            f"tag {destination.tag!r} of {destination.repo_id} names commit {commit[:8]} already:"
            " choose another --tag, or delete it on the Hub. Nothing was uploaded."
        )


def _commit(api, destination, operations, parent, local, attempt) -> tuple[str, str | None]:
    """One commit on top of `parent`: (commit id, pull request URL or None).

    The client never retries a commit, since a lost answer hides whether it landed. So after every
    failure the Hub is asked; and a retry names the same parent, which a commit that landed in the
    meantime would turn into a refusal (412).
    """
    place, create_pr = destination.place, destination.create_pr
    attempt.doing = "uploading the files"
    additions = [step for step in operations if isinstance(step, CommitOperationAdd)]
    revision = destination.revision
    api.preupload_lfs_files(
        **place, additions=additions, revision=revision, create_pr=create_pr, free_memory=False
    )
    attempt.doing = "making the commit"
    waits = iter(WAITS)
    while True:
        try:
            made = api.create_commit(
                **place,
                operations=operations,
                commit_message=destination.message,
                revision=revision,
                create_pr=create_pr,
                parent_commit=parent,
            )
            return made.oid, made.pr_url
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
            attempt.unsure = True
            landed = _landed(api, destination, parent, local)
            attempt.unsure = False
            if landed:
                return landed
            wait = next(waits, None)
            if wait is None or not is_transient(error):
                raise
            time.sleep(max(wait, retry_after(error)))


def _landed(api, destination, parent, local) -> tuple[str, str | None] | None:
    """The commit that holds our files although its answer was lost, if there is one."""
    if destination.create_pr:
        return pull_request_with(api, destination, local)
    place = destination.place
    head = patiently(lambda: api.repo_info(**place, revision=destination.revision)).sha
    if head == parent or any(differences(api, destination, head, local)):
        return None
    return head, None


def _read_back(api, destination, commit, local, folder: Path) -> None:
    """Download a commit's files and compare each with what was staged."""
    patiently(
        lambda: api.snapshot_download(
            **destination.place, revision=commit, local_dir=folder, allow_patterns=list(local)
        )
    )
    for name, path in local.items():
        got = folder / name
        if not got.is_file() or got.read_bytes() != path.read_bytes():
            raise UserError(
                f"{name} came back from commit {commit[:8]} of {destination.repo_id} other than it"
                " was sent: do not use this commit, and run the command again"
            )

"""A place on the Hub, and how what stands there differs from what is staged."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import EntryNotFoundError

from genreast.pages import PAGE_FILE, is_sealed
from genreast.publishing.hub_errors import patiently
from genreast.publishing.staging_folder import belongs

RECENT_PULL_REQUESTS = 20  # looked through for one that already holds the same files
BLANK_PAGES = (  # what the Hub itself puts below a new repository's metadata
    "",
    "Check out the configuration reference at"
    " https://huggingface.co/docs/hub/spaces-config-reference",
)


@dataclass(frozen=True)
class Destination:
    """Where on the Hub a folder goes, and how."""

    repo_id: str
    repo_type: str = "model"
    private: bool = False
    revision: str = "main"
    create_pr: bool = False
    tag: str | None = None
    message: str = "Publish with GenreAST"
    edited_page: str | None = None  # "keep" or "replace" a README.md edited there; None refuses
    owned: tuple[str, ...] = ()  # patterns of files that earlier runs made: deleted when not staged
    # Of these, files by the flag that adds them: not deleted while the weights stay what they are.
    flagged: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> dict[str, str]:
        """As the calls of the Hub's client take it."""
        return {"repo_id": self.repo_id, "repo_type": self.repo_type}

    @property
    def page(self) -> str:
        """Of its page, the path below the Hub's address."""
        return self.repo_id if self.repo_type == "model" else f"{self.repo_type}s/{self.repo_id}"


def page_was_edited(api: HfApi, destination: Destination, revision: str | None) -> bool:
    """Whether README.md on the Hub holds words that no run of this program wrote.

    A pull request is looked through before it replaces anything, so there it does not matter.
    """
    if revision is None or destination.create_pr:
        return False
    with tempfile.TemporaryDirectory() as folder:
        call = {"filename": PAGE_FILE, "revision": revision, "local_dir": folder}
        try:
            path = patiently(lambda: api.hf_hub_download(**destination.place, **call))
        except EntryNotFoundError:
            return False
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    words = RepoCard(text, ignore_metadata_errors=True).text.strip()
    return not is_sealed(text) and words not in BLANK_PAGES


def differences(
    api: HfApi, destination: Destination, revision: str | None, local: dict[str, Path]
) -> tuple[list[str], list[str]]:
    """Names to upload and names to delete so that `revision` holds what `local` holds."""
    if revision is None:
        return list(local), []
    tree = patiently(
        lambda: list(api.list_repo_tree(**destination.place, revision=revision, recursive=True))
    )
    remote = {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}
    changed = [name for name in local if not _same(remote.get(name), local[name])]
    owned = (name for name in remote if belongs(name, destination.owned))
    return changed, sorted(set(owned) - set(local))


def pull_request_with(
    api: HfApi, destination: Destination, local: dict[str, Path]
) -> tuple[str, str] | None:
    """(commit, URL) of a recent pull request that holds exactly the files of `local`."""
    place = destination.place
    refs = patiently(lambda: api.list_repo_refs(**place, include_pull_requests=True))
    newest_first = sorted(refs.pull_requests, key=lambda ref: -int(ref.ref.rsplit("/", 1)[1]))
    for ref in newest_first[:RECENT_PULL_REQUESTS]:
        if not any(differences(api, destination, ref.target_commit, local)):
            number = ref.ref.rsplit("/", 1)[1]
            return ref.target_commit, f"{api.endpoint}/{destination.page}/discussions/{number}"
    return None


def _same(entry, path: Path) -> bool:
    """Whether the Hub's entry of a file has this content: LFS by sha256, others by git's sha1."""
    if entry is None or entry.size != path.stat().st_size:
        return False
    if entry.lfs:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == entry.blob_id

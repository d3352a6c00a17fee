"""What the tests' Hub remembers: users, repositories with their commits and refs, LFS objects."""

import hashlib
import itertools
import json
import re
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import UTC, datetime

import yaml


class HubError(Exception):
    """An answer that is an error: HTTP status, the Hub's error code, its message."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class User:
    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()

    def may_write(self, namespace: str) -> bool:
        return self.role == "write" and namespace in (self.name, *self.orgs)


@dataclass(frozen=True)
class Blob:
    """A file of a commit; `lfs` says that its content lies with the LFS objects."""

    content: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        stored = self.content
        if self.lfs:
            pointer = "version https://git-lfs.github.com/spec/v1\n"
            pointer += f"oid sha256:{self.sha256}\nsize {len(self.content)}\n"
            stored = pointer.encode()
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, Blob]
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))


class Repo:
    """One repository: immutable commits, and refs that name them."""

    def __init__(self, kind: str, name: str, private: bool):
        self.kind, self.name, self.private = kind, name, private
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        # The Hub begins every repository with a commit that holds .gitattributes.
        first = {".gitattributes": Blob(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}
        self.refs["refs/heads/main"] = self.add_commit(None, "initial commit", first).oid

    def add_commit(self, parent: str | None, title: str, files: dict[str, Blob]) -> Commit:
        tree = sorted((path, blob.git_oid) for path, blob in files.items())
        number = len(self.commits)
        oid = hashlib.sha1(json.dumps([self.name, number, parent, title, tree]).encode())
        commit = Commit(oid.hexdigest(), parent, title, files)
        self.commits[commit.oid] = commit
        return commit

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a full ref or a commit id names."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if revision in self.commits:
            return self.commits[revision]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self, revision: str = "main") -> list[Commit]:
        """Commits from newest to oldest."""
        commits = [self.at(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def new_ref(self, ref: str, revision: str) -> None:
        if ref in self.refs:
            raise HubError(409, f"Reference already exists: {ref}")
        self.refs[ref] = self.at(revision).oid

    def new_pull_request(self, commit: Commit) -> int:
        numbers = (n for n in itertools.count(1) if f"refs/pr/{n}" not in self.refs)
        number = next(numbers)
        self.refs[f"refs/pr/{number}"] = commit.oid
        return number

    def file(self, revision: str, path: str) -> Blob:
        files = self.at(revision).files
        if path not in files:
            raise HubError(404, "Entry not found", "EntryNotFound")
        return files[path]

    def card_data(self, revision: str) -> dict:
        readme = self.at(revision).files.get("README.md")
        return front_matter(readme.content.decode()) if readme else {}


class HubStore:
    """Everything on the Hub, in memory."""

    def __init__(self):
        self.users: dict[str, User] = {}  # by token
        self.repos: dict[tuple[str, str], Repo] = {}  # by (kind, "user/name")
        self.objects: dict[str, bytes] = {}  # LFS content by sha256

    def create(self, kind: str, name: str, private: bool) -> Repo:
        if (kind, name) in self.repos:
            raise HubError(409, f"You already created this {kind} repo: {name}")
        self.repos[kind, name] = Repo(kind, name, private)
        return self.repos[kind, name]

    def commit(self, repo: Repo, revision: str, lines: list[dict], as_pull_request: bool):
        """Apply the lines of a commit request. Returns (commit, pull request number or None)."""
        header = next(line["value"] for line in lines if line["key"] == "header")
        branch = f"refs/heads/{revision}"
        head = repo.at(revision)
        wanted = header.get("parentCommit", head.oid)
        if not as_pull_request:
            if branch not in repo.refs:
                raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            if wanted != head.oid:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.at(wanted).files)
        for line in lines:
            self._apply(files, line["key"], line["value"])
        commit = repo.add_commit(wanted, header["summary"], files)
        if as_pull_request:
            return commit, repo.new_pull_request(commit)
        repo.refs[branch] = commit.oid
        return commit, None

    def _apply(self, files: dict[str, Blob], key: str, value: dict) -> None:
        if key == "file":
            files[value["path"]] = Blob(b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self.objects:
                raise HubError(400, f"LFS object {value['oid']} was not uploaded")
            files[value["path"]] = Blob(self.objects[value["oid"]], lfs=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key != "header":
            raise HubError(400, f"unknown commit operation {key}")


def front_matter(text: str) -> dict:
    """The YAML block on top of a card; HubError 400 when it is not a mapping."""
    block = re.match(r"\A---\r?\n(.*?)\r?\n---\r?\n", text, re.DOTALL)
    if block is None:
        return {}
    try:
        data = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        raise HubError(400, f"invalid YAML: {error}") from error
    if not isinstance(data, dict):
        raise HubError(400, "metadata must be a mapping")
    return data


def metadata_errors(data: dict, kind: str) -> list[str]:
    """What the Hub refuses in a card's metadata, as far as cards of this project go."""
    errors = []
    for key in ("license", "pipeline_tag", "library_name", "pretty_name", "base_model_relation"):
        if key in data and not (isinstance(data[key], str) and data[key]):
            errors.append(f'"{key}" must be a string')
    for key in ("tags", "metrics", "datasets"):
        values = data.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            errors.append(f'"{key}" must be an array of strings')
    for key in ("base_model", "datasets"):
        values = data.get(key, [])
        for value in [values] if isinstance(values, str) else values:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(value)):
                errors.append(f'"{key}" with value "{value}" is not valid')
    if kind == "space":
        errors += _space_errors(data)
    if kind == "model":
        errors += _model_index_errors(data.get("model-index", []))
    return errors


def _space_errors(data: dict) -> list[str]:
    colours = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
    checks = {
        "sdk": data.get("sdk") in ("gradio", "docker", "static"),
        "sdk_version": re.fullmatch(r"\d+\.\d+\.\d+", str(data.get("sdk_version"))),
        "python_version": isinstance(data.get("python_version"), str),
        "emoji": len(data.get("emoji", "")) == 1,
        "colorFrom": data.get("colorFrom") in colours,
        "colorTo": data.get("colorTo") in colours,
        "short_description": len(data.get("short_description", "")) <= 60,
    }
    return [f'"{key}" is not valid' for key, passed in checks.items() if not passed]


def _model_index_errors(index) -> list[str]:
    errors = []
    for model in index if isinstance(index, list) else [{}]:
        if not isinstance(model.get("name"), str) or not model.get("results"):
            errors.append('"model-index[0]" needs a name and results')
        for result in model.get("results", []):
            if not isinstance(result.get("task", {}).get("type"), str):
                errors.append('"task.type" is required')
            dataset = result.get("dataset", {})
            if not isinstance(dataset.get("type"), str) or not isinstance(dataset.get("name"), str):
                errors.append('"dataset.type" and "dataset.name" are required')
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(dataset.get("type"))):
                errors.append(f'"dataset.type" with value "{dataset.get("type")}" is not valid')
            for metric in result.get("metrics", []) or [{}]:
                if not isinstance(metric.get("type"), str) or metric.get("value") is None:
                    errors.append('"metrics.type" and "metrics.value" are required')
    return errors


def files_of(commit: Commit) -> set[str]:
    """The names of a commit's files, but for the one that the Hub itself puts there."""
    return set(commit.files) - {".gitattributes"}

"""The calls of the Hub's protocol that publishing and loading make, as functions of a request.

Each function takes (store, request) and returns an `Answer`, or raises `HubError`. The table
`ROUTES` at the end gives every call a name; tests inject faults by that name.
"""

import hashlib
import json
import re
from base64 import b64decode
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from hub_store import HubError, HubStore, Repo, User, front_matter, metadata_errors

SDKS = ("gradio", "docker", "static")
LARGE = 10 * 1024 * 1024  # bytes; above it the Hub wants LFS for text too


@dataclass
class Answer:
    status: int = 200
    body: bytes | dict | list = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    hub_url: str
    content_url: str
    parts: dict[str, str] = field(default_factory=dict)  # named groups of the route

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def part(self, name: str, default: str = "") -> str:
        return unquote(self.parts.get(name) or default)


def user_of(store: HubStore, request: Request) -> User | None:
    authorization = request.headers.get("authorization")
    if authorization is None:
        return None
    user = store.users.get(authorization.removeprefix("Bearer "))
    if user is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return user


def repo_of(store: HubStore, request: Request, write: bool = False) -> Repo:
    """The repository a request names, if its user may read (or write) it."""
    user = user_of(store, request)
    kind = (request.parts.get("kind") or "models").rstrip("/").removesuffix("s")
    repo = store.repos.get((kind, request.part("repo")))
    hidden = repo and repo.private and not (user and _owns(user, repo))
    if repo is None or hidden:
        raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
    if write and user is None:
        raise HubError(401, "Invalid username or password.")
    if write and not user.may_write(repo.name.split("/")[0]):
        raise HubError(403, "You don't have write access to this repository")
    return repo


def _owns(user: User, repo: Repo) -> bool:
    return repo.name.split("/")[0] in (user.name, *user.orgs)


def whoami(store: HubStore, request: Request) -> Answer:
    user = user_of(store, request)
    if user is None:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "test", "role": user.role}
    body = {"type": "user", "name": user.name, "orgs": [{"name": org} for org in user.orgs]}
    return Answer(body=body | {"auth": {"type": "access_token", "accessToken": token}})


def create_repo(store: HubStore, request: Request) -> Answer:
    user, asked = user_of(store, request), request.json
    if user is None:
        raise HubError(401, "Invalid username or password.")
    namespace = asked.get("organization") or user.name
    if not user.may_write(namespace):
        words = "You don't have the rights to create a model under the namespace"
        raise HubError(403, f'{words} "{namespace}"')
    kind, name = asked.get("type") or "model", f"{namespace}/{asked['name']}"
    url = f"{request.hub_url}/{'' if kind == 'model' else kind + 's/'}{name}"
    if kind == "space" and asked.get("sdk") not in SDKS:
        raise HubError(400, '"sdk" must be one of gradio, docker, static')
    try:
        store.create(kind, name, private=asked.get("visibility") == "private")
    except HubError as error:
        return Answer(error.status, {"error": error.message, "url": url})
    return Answer(body={"url": url, "name": name})


def validate_yaml(store: HubStore, request: Request) -> Answer:
    try:
        errors = metadata_errors(front_matter(request.json["content"]), request.json["repoType"])
    except HubError as error:
        errors = [error.message]
    body = {"errors": [{"message": error} for error in errors], "warnings": []}
    return Answer(400 if errors else 200, body)


def repo_info(store: HubStore, request: Request) -> Answer:
    repo = repo_of(store, request)
    revision = request.part("revision", "main")
    commit, card = repo.at(revision), repo.card_data(revision)
    return Answer(
        body={
            "id": repo.name,
            "modelId": repo.name,
            "author": repo.name.split("/")[0],
            "sha": commit.oid,
            "lastModified": commit.date,
            "createdAt": commit.date,
            "private": repo.private,
            "disabled": False,
            "gated": False,
            "tags": card.get("tags", []),
            "cardData": card,
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }
    )


def list_commits(store: HubStore, request: Request) -> Answer:
    history = repo_of(store, request).history(request.part("revision"))
    rows = [{"id": c.oid, "title": c.title, "message": "", "date": c.date} for c in history]
    return Answer(body=[row | {"authors": []} for row in rows])


def list_refs(store: HubStore, request: Request) -> Answer:
    groups = {"branches": "refs/heads/", "tags": "refs/tags/", "pullRequests": "refs/pr/"}
    refs = repo_of(store, request).refs
    body = {"converts": []}
    for group, prefix in groups.items():
        named = ((ref.removeprefix(prefix), ref) for ref in refs if ref.startswith(prefix))
        body[group] = [{"name": n, "ref": ref, "targetCommit": refs[ref]} for n, ref in named]
    return Answer(body=body)


def create_branch(store: HubStore, request: Request) -> Answer:
    repo = repo_of(store, request, write=True)
    start = json.loads(request.body or b"{}").get("startingPoint", "main")
    repo.new_ref(f"refs/heads/{request.part('revision')}", start)
    return Answer()


def create_tag(store: HubStore, request: Request) -> Answer:
    repo = repo_of(store, request, write=True)
    repo.new_ref(f"refs/tags/{request.json['tag']}", request.part("revision"))
    return Answer()


def preupload(store: HubStore, request: Request) -> Answer:
    as_pull_request = "create_pr" in request.query
    repo = repo_of(store, request, write=not as_pull_request)
    files = repo.at(request.part("revision")).files
    answers = []
    for asked in request.json["files"]:
        binary = b"\0" in b64decode(asked["sample"])
        there = files.get(asked["path"])
        answers.append(
            {
                "path": asked["path"],
                "uploadMode": "lfs" if binary or asked["size"] > LARGE else "regular",
                "shouldIgnore": False,
                "oid": there.etag if there else None,
            }
        )
    return Answer(body={"files": answers})


def lfs_batch(store: HubStore, request: Request) -> Answer:
    repo_of(store, request)
    objects = []
    for asked in request.json["objects"]:
        entry = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in store.objects:
            upload = {"href": f"{request.content_url}/objects/{asked['oid']}"}
            verify = {"href": f"{request.hub_url}/api/lfs-verify"}
            entry["actions"] = {"upload": upload, "verify": verify}
        objects.append(entry)
    return Answer(body={"transfer": "basic", "objects": objects})


def lfs_put(store: HubStore, request: Request) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != request.parts["oid"]:
        raise HubError(400, "content does not match its sha256")
    store.objects[request.parts["oid"]] = request.body
    return Answer()


def lfs_verify(store: HubStore, request: Request) -> Answer:
    stored = store.objects.get(request.json["oid"])
    if stored is None or len(stored) != request.json["size"]:
        raise HubError(404, "object was not uploaded")
    return Answer()


def commit(store: HubStore, request: Request) -> Answer:
    as_pull_request = "create_pr" in request.query
    repo = repo_of(store, request, write=not as_pull_request)
    lines = [json.loads(line) for line in request.body.splitlines()]
    made, number = store.commit(repo, request.part("revision"), lines, as_pull_request)
    page = f"{request.hub_url}/{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.name}"
    body = {"success": True, "commitOid": made.oid, "commitUrl": f"{page}/commit/{made.oid}"}
    if number:
        body["pullRequestUrl"] = f"{page}/discussions/{number}"
    return Answer(body=body)


def tree(store: HubStore, request: Request) -> Answer:
    files = repo_of(store, request).at(request.part("revision")).files
    folder = request.part("path").strip("/")
    prefix = f"{folder}/" if folder else ""
    inside = [path for path in sorted(files) if path.startswith(prefix)]
    if folder and not inside:
        raise HubError(404, f"{folder} does not exist", "EntryNotFound")
    entries = {}
    for path in inside:
        names = path.removeprefix(prefix).split("/")
        for depth in range(1, len(names)):
            parent = prefix + "/".join(names[:depth])
            entries[parent] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": parent}
        entries[path] = _entry(path, files[path])
    if "true" not in [value.lower() for value in request.query.get("recursive", [])]:
        entries = {path: e for path, e in entries.items() if "/" not in path.removeprefix(prefix)}
    return Answer(body=list(entries.values()))


def paths_info(store: HubStore, request: Request) -> Answer:
    files = repo_of(store, request).at(request.part("revision")).files
    body = []
    for path in parse_qs(request.body.decode()).get("paths", []):
        if path in files:
            body.append(_entry(path, files[path]))
        elif any(name.startswith(f"{path}/") for name in files):
            body.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
    return Answer(body=body)


def _entry(path: str, blob) -> dict:
    entry = {"type": "file", "oid": blob.git_oid, "size": len(blob.content), "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": 134}
    return entry


def resolve(store: HubStore, request: Request) -> Answer:
    repo = repo_of(store, request)
    commit = repo.at(request.part("revision"))
    headers = {"X-Repo-Commit": commit.oid}
    path = request.part("path")
    if path not in commit.files:
        body = {"error": "Entry not found"}
        return Answer(404, body, headers | {"X-Error-Code": "EntryNotFound"})
    blob = commit.files[path]
    if not blob.lfs:
        return _content(request, blob.content, headers | {"ETag": f'"{blob.git_oid}"'})
    headers["X-Linked-ETag"] = f'"{blob.sha256}"'
    headers["X-Linked-Size"] = str(len(blob.content))
    headers["Location"] = f"{request.content_url}/objects/{blob.sha256}"
    return Answer(302, headers=headers)


def lfs_get(store: HubStore, request: Request) -> Answer:
    oid = request.parts["oid"]
    if oid not in store.objects:
        raise HubError(404, "no such object")
    return _content(request, store.objects[oid], {"ETag": f'"{oid}"'})


def _content(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    headers["Accept-Ranges"] = "bytes"
    if asked is None:
        return Answer(200, content, headers)
    first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
    if first > last:
        return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Answer(206, content[first : last + 1], headers)


API = r"/api/(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
GIT = r"/(?P<kind>datasets/|spaces/)?(?P<repo>[^/]+/[^/]+)"
REV = r"/(?P<revision>[^/]+)"
ROUTES = [
    ("whoami", "GET", r"/api/whoami-v2", whoami),
    ("create_repo", "POST", r"/api/repos/create", create_repo),
    ("validate_yaml", "POST", r"/api/validate-yaml", validate_yaml),
    ("repo_info", "GET", API, repo_info),
    ("repo_info", "GET", API + r"/revision" + REV, repo_info),
    ("list_commits", "GET", API + r"/commits" + REV, list_commits),
    ("list_refs", "GET", API + r"/refs", list_refs),
    ("create_branch", "POST", API + r"/branch" + REV, create_branch),
    ("create_tag", "POST", API + r"/tag" + REV, create_tag),
    ("preupload", "POST", API + r"/preupload" + REV, preupload),
    ("lfs_batch", "POST", GIT + r"\.git/info/lfs/objects/batch", lfs_batch),
    ("lfs_put", "PUT", r"/objects/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("lfs_verify", "POST", r"/api/lfs-verify", lfs_verify),
    ("commit", "POST", API + r"/commit" + REV, commit),
    ("tree", "GET", API + r"/tree" + REV + r"(?P<path>/.+)?", tree),
    ("paths_info", "POST", API + r"/paths-info" + REV, paths_info),
    ("resolve", "GET", GIT + r"/resolve" + REV + r"/(?P<path>.+)", resolve),
    ("lfs_get", "GET", r"/objects/(?P<oid>[0-9a-f]{64})", lfs_get),
]
